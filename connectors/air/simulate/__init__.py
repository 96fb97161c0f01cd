"""Air stations and dust sites that send real HJ 212 bytes over real sockets: for a demo, for load, for a vendor's first look.

    python -m connectors.air.simulate --to 127.0.0.1:9212 --devices 40 --seed 1 --log sent.jsonl

Every station of the register has a connection of its own and speaks one generation of the standard. What it says is a function of the
seed, its name and the message's number; what it measures depends on the clock as well. From the inside out, each module knowing only
those before it:

weather.py   what would be measured: courses of a day, dusty and smoky episodes, the text in the device's unit
upload.py    one message: its bytes, and what should become of it
troubles.py  what goes wrong in the field, as a table
station.py   what one station says, message by message, without socket or sleep
log.py       what was sent and answered, for whoever compares it with what the hub kept
line.py      how a station sends it: one connection, resends, repeats
__main__.py  all stations at once, and the command
"""
