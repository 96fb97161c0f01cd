"""The senders' side of the story, for whoever compares it with what the hub kept."""

import json
import time
from typing import TextIO

from connectors.air.simulate.upload import Upload
from hub.core.registry import Device


class Log:
    """One JSON object per line: {what: sent | answered | connected | closed, at: ms since 1970, device, ...}.

    `sent` stands there before the bytes leave, `answered` once the answer was read. In both, `n` numbers the messages of a device from
    1; a message sent again has the same `n` and a higher `attempt`. `raw` is in hexadecimal; `expect`, `trouble` and `values` are those
    of Upload. Every line reaches the operating system at once, and whole: nothing is awaited within it.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def connected(self, device: Device) -> None:
        self._write("connected", device)

    def closed(self, device: Device) -> None:
        self._write("closed", device)

    def sent(self, device: Device, upload: Upload, attempt: int) -> None:
        header = upload.header
        self._write(
            "sent",
            device,
            mn=header.get("MN", device.mn),
            town=device.town,
            n=upload.n,
            attempt=attempt,
            raw=upload.raw.hex(),
            expect=upload.expect,
            trouble=upload.trouble,
            cn=header.get("CN", ""),
            qn=header.get("QN"),
            pno=int(header["PNO"]) if "PNO" in header else None,
            data_time=upload.data_time,
            values=dict(upload.values),
        )

    def answered(self, device: Device, n: int, attempt: int, answer: str, qn: str) -> None:
        self._write("answered", device, n=n, attempt=attempt, answer=answer, qn=qn)

    def _write(self, what: str, device: Device, **more: object) -> None:
        line = {"what": what, "at": time.time_ns() // 1_000_000, "device": device.id} | more
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()
