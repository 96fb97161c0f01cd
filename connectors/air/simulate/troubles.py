"""What goes wrong in the field: all of this was seen in public code, logs or samples of real stations.

A trouble befalls a realtime message (CN 2011) and says what should become of it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

from connectors.air.hj212 import crc16, frame
from connectors.air.simulate.upload import BEIJING, Upload, stamp

Trouble = Callable[[Upload, Random], Upload]

PINGS = (b"\xfe\xfe", b"ping", b"+CSQ: 21,99\r\n", b"861234050012345", b"www.usr.cn\r\n")
MODBUS_RTU = (bytes.fromhex("010300000002c40b"), bytes.fromhex("0103040bb8006459e4"))
REMARK = "Remark=//郑庵镇;断电恢复//"
MISSING_VALUES = ("-99", "9999", "65535")
OVERSIZES = (1025, 1623)  # bytes of a segment, of which 1024 are allowed
# What a clock says that was never set.
EPOCH, YEAR_2000 = datetime(1970, 1, 1, 8, tzinfo=BEIJING), datetime(2000, 1, 1, tzinfo=BEIJING)
ONE_DAY = timedelta(days=1)
CRC_AND_TAIL = 6


def _as_it_is(message: Upload, _: Random) -> Upload:
    """The trouble is not in the message itself: the station sends more of them in one go, or the same values again and again."""
    return message


def _lost(message: Upload, spoilt: bytes | None = None) -> Upload:
    """Kept as a dead letter, of which nobody can be told."""
    return replace(message, spoilt=spoilt, expect="dead-letter", answerable=False)


def _noise(noise: bytes) -> Upload:
    """Bytes that belong to no frame, on the wire in place of a message."""
    return Upload(expect="nothing", spoilt=noise, answerable=False)


def _with_length(message: Upload, digits: str) -> Upload:
    return _lost(message, b"##" + digits.encode() + message.segment + message.raw[-CRC_AND_TAIL:])


def _with_crc(message: Upload, crc: int) -> Upload:
    # The wrong value may happen to be the right one, of which there are only 256.
    wrong = crc if crc != crc16(message.segment) else crc ^ 0xFFFF
    return _lost(message, message.raw[:-CRC_AND_TAIL] + b"%04X\r\n" % wrong)


def _swapped(crc: int) -> int:
    return (crc & 0xFF) << 8 | crc >> 8


def _modbus_crc(segment: bytes) -> int:
    """CRC-16/MODBUS, which the CRC of HJ 212 is often taken for."""
    register = 0xFFFF
    for byte in segment:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xA001 if register & 1 else 0)
    return register


def _lower_case_crc(message: Upload, _: Random) -> Upload:
    raw = message.raw
    return replace(message, spoilt=raw[:-CRC_AND_TAIL] + raw[-CRC_AND_TAIL:].lower())


def _broken_off(message: Upload, chance: Random) -> Upload:
    raw = message.raw
    return _lost(message, raw[: chance.randint(len(raw) // 4, len(raw) // 2)])


def _cut_anywhere(message: Upload, chance: Random) -> Upload:
    return replace(message, pieces=tuple(sorted(chance.sample(range(1, len(message.raw)), 3))))


def _foreign_mn(message: Upload, chance: Random) -> Upload:
    return replace(message.with_header(MN=f"FFFF{chance.getrandbits(80):020X}"), expect="dead-letter")


def _with_body(message: Upload, body: str, encoding: str = "utf-8") -> Upload:
    return replace(message, body=body, encoding=encoding)


def _with_data_time(message: Upload, text: str) -> Upload:
    return _with_body(message, message.body.replace(f"DataTime={message.data_time}", f"DataTime={text}"))


def _measured_at(message: Upload, then: datetime) -> Upload:
    return replace(_with_data_time(message, stamp(then)), data_time=stamp(then))


def _within_a_day(start: datetime, chance: Random) -> datetime:
    return start + timedelta(seconds=chance.randrange(86400))


def _clock_a_day_off(message: Upload, chance: Random) -> Upload:
    right = datetime.strptime(f"{message.data_time}+0800", "%Y%m%d%H%M%S%z")
    return _measured_at(message, right + chance.choice((-1, 1)) * ONE_DAY)


def _first_statistic(message: Upload, name: str) -> Upload:
    """The first factor's statistic has a name that no standard knows."""
    (first, text), *others = message.values.items()
    values = {f"{first.removesuffix('-Rtd')}-{name}": text, **dict(others)}
    return replace(message, body=message.body.replace("-Rtd=", f"-{name}=", 1), values=values)


def _missing_value(message: Upload, chance: Random) -> Upload:
    text = chance.choice(MISSING_VALUES)
    body = re.sub(r"-Rtd=[^,;]*", f"-Rtd={text}", message.body, count=1)
    return replace(message, body=body, values={**message.values, next(iter(message.values)): text})


def _factor_many_times(message: Upload, _: Random) -> Upload:
    first = message.body.split(";")[1]
    return _with_body(message, f"{message.body};{first};{first}")


def _space_before_semicolon(message: Upload, _: Random) -> Upload:
    return _with_body(message.with_header(ST=message.header["ST"] + " "), message.body.replace(";", " ;"))


def _oversize(message: Upload, chance: Random) -> Upload:
    padded = _with_body(message, f"{message.body};Remark=")
    return _with_body(padded, padded.body + "-" * (chance.choice(OVERSIZES) - len(padded.segment)))


def _unknown_factors(message: Upload, _: Random) -> Upload:
    body = f"DataTime={message.data_time};zz9901-Rtd=1.0;zz9902-Rtd=2.0"
    return replace(message, body=body, values={}, expect="empty")


def _unfinished_body(message: Upload, _: Random) -> Upload:
    return replace(message, spoilt=frame(message.segment.removesuffix(b"&&")), expect="dead-letter")


def _encrypted(message: Upload, chance: Random) -> Upload:
    """The body as HJ 212-2025 sends SM4 groups: CRC of the plain segment, LEN of the plain or of the sent one; the content is chance."""
    plain, body = message.segment, message.body.encode()
    groups, rest = divmod(len(body), 16)
    cipher = ",".join(f"0x{byte:02X}" for byte in chance.randbytes(groups * 16))
    sent = plain.removesuffix(body + b"&&") + f"{{{cipher}}}".encode() + body[len(body) - rest :] + b"&&"
    length = chance.choice((len(plain), min(len(sent), 9999)))
    spoilt = b"##%04d%b%b" % (length, sent, message.raw[-CRC_AND_TAIL:])
    return replace(message, spoilt=spoilt, expect="dead-letter")


TROUBLES: Mapping[str, Trouble] = {
    "lower_case_crc": _lower_case_crc,
    "swapped_crc": lambda message, _: _with_crc(message, _swapped(crc16(message.segment))),
    "modbus_crc": lambda message, _: _with_crc(message, _modbus_crc(message.segment)),
    "length_of_three_digits": lambda message, _: _with_length(message, f"{len(message.segment) % 1000:03d}"),
    "length_too_small": lambda message, _: _with_length(message, f"{len(message.segment) - 2:04d}"),
    "length_counts_crc": lambda message, _: _with_length(message, f"{len(message.segment) + 4:04d}"),
    # Round and well above the truth, so that the next frame's header lies inside what it claims.
    "length_placeholder": lambda message, _: _with_length(message, f"{len(message.segment) // 100 + 2:02d}00"),
    "broken_off": _broken_off,
    "no_tail": lambda message, _: replace(message, spoilt=message.raw.removesuffix(b"\r\n")),
    "cut_anywhere": _cut_anywhere,
    "two_in_one_go": _as_it_is,
    "three_in_one_go": _as_it_is,
    "ping": lambda _, chance: _noise(chance.choice(PINGS)),
    "modbus_frame": lambda _, chance: _noise(chance.choice(MODBUS_RTU)),
    "hexadecimal_text": lambda message, _: _noise(message.raw.hex(" ").upper().encode() + b"\r\n"),
    "no_qn": lambda message, _: message.with_header(QN=None),
    "qn_of_14_digits": lambda message, _: message.with_header(QN=message.header["QN"][:14]),
    "qn_of_18_digits": lambda message, _: message.with_header(QN=message.header["QN"] + "0"),
    "no_flag": lambda message, _: message.with_header(Flag=None),
    "empty_pw": lambda message, _: message.with_header(PW=""),
    "empty_mn": lambda message, _: _lost(message.with_header(MN="")),
    "foreign_mn": _foreign_mn,
    "data_time_of_17_digits": lambda message, _: _with_data_time(message, f"{message.data_time}000"),
    "parts_unnamed": lambda message, _: message.as_part(),
    "pno_before_pnum": lambda message, _: message.as_part(PNO="1", PNUM="1"),
    "statistic_misspelt": lambda message, _: _first_statistic(message, "td"),
    "statistic_doubled": lambda message, _: _first_statistic(message, "Rtd-Rtd"),
    "factor_many_times": _factor_many_times,
    "lone_flag": lambda message, _: _with_body(message, f"{message.body};Flag=N"),
    "trailing_semicolon": lambda message, _: _with_body(message, f"{message.body};"),
    "commas_only": lambda message, _: _with_body(message, message.body.replace(";", ",")),
    "space_before_semicolon": _space_before_semicolon,
    "oversize": _oversize,
    "clock_of_1970": lambda message, chance: _measured_at(message, _within_a_day(EPOCH, chance)),
    "clock_of_2000": lambda message, chance: _measured_at(message, _within_a_day(YEAR_2000, chance)),
    "clock_a_day_off": _clock_a_day_off,
    "stuck_values": _as_it_is,
    "missing_value": _missing_value,
    "text_in_utf8": lambda message, _: _with_body(message, f"{message.body};{REMARK}"),
    "text_in_gbk": lambda message, _: _with_body(message, f"{message.body};{REMARK}", "gbk"),
    "unknown_factors": _unknown_factors,
    "unfinished_body": _unfinished_body,
    "encrypted": _encrypted,
}
# How many sound messages follow in the same go.
GLUED = {"two_in_one_go": 1, "three_in_one_go": 2}
ONLY_2025 = frozenset({"encrypted"})
