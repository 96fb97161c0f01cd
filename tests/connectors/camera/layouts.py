"""What cameras push, in every layout and with every trouble that receivers of them have met. Made up, after real ones."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NAMESPACE = "http://www.isapi.org/ver20/XMLSchema"
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4 + b"\xff\xd9"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
MAC = "a4:d5:c2:01:02:03"
TIME = "2026-06-02T03:10:11+08:00"

FIRE_REGION = (
    "<DetectionRegionList><DetectionRegionEntry><regionID>1</regionID><FireDetection><FireRegion><x>400</x><y>300</y><width>20</width>"
    "<height>20</height></FireRegion><temperatureUnit>celsius</temperatureUnit><fireMaxTemperature>180</fireMaxTemperature>"
    "</FireDetection></DetectionRegionEntry></DetectionRegionList>"
)

GPS = (
    "<DeviceGPSInfo><longitudeType>E</longitudeType><latitudeType>N</latitudeType><Longitude><degree>113</degree><minute>55</minute>"
    "<sec>15</sec></Longitude><Latitude><degree>34</degree><minute>42</minute><sec>0</sec></Latitude></DeviceGPSInfo>"
)


def xml(
    event_type: str = "fireDetection",
    state: str = "active",
    *,
    namespace: str = NAMESPACE,
    prefix: str = "",
    more: str = "",
    time: str = TIME,
    mac: str = MAC,
    channel: str = "2",
    name: str = "东李庄高点",
    declaration: str = '<?xml version="1.0" encoding="UTF-8"?>\n',
    without: tuple[str, ...] = (),
) -> str:
    """An EventNotificationAlert; `without`: elements that are left out."""
    elements = {
        "ipAddress": "10.9.8.7",
        "macAddress": mac,
        "channelID": channel,
        "dateTime": time,
        "activePostCount": "1",
        "eventType": event_type,
        "eventState": state,
        "channelName": name,
    }
    inner = "".join(f"<{key}>{value}</{key}>" for key, value in elements.items() if key not in without) + more
    if prefix:
        inner = inner.replace("</", "</\0").replace("<", f"<{prefix}:").replace(f"<{prefix}:/\0", f"</{prefix}:")
    attribute = f' xmlns{":" if prefix else ""}{prefix}="{namespace}"' if namespace else ""
    head = f"{prefix}:" if prefix else ""
    return f'{declaration}<{head}EventNotificationAlert version="2.0"{attribute}>{inner}</{head}EventNotificationAlert>'


def multipart(
    *parts: tuple[str, bytes],
    boundary: str = "boundary",
    end: bytes = b"\r\n",
    blank: bool = False,
    closing: bytes | None = None,
) -> bytes:
    """Parts, each of headers (lines joined by |) and content. `blank`: an empty line before the headers; `closing`: the end, None for the usual."""
    body = b""
    for headers, content in parts:
        lines = [line.encode() for line in headers.split("|") if line]
        body += (
            b"--"
            + boundary.encode()
            + end
            + (end if blank else b"")
            + b"".join(line + end for line in lines)
            + end
            + content
            + end
        )
    return body + (b"--" + boundary.encode() + b"--" + end if closing is None else closing)


FORM = 'Content-Disposition: form-data; name="fireDetection"'
TEXT = f"{FORM}|Content-Type: application/xml"
PICTURE = f'{FORM}; filename="fireDetection.jpg"|Content-Type: image/jpeg'


@dataclass(frozen=True)
class Layout:
    """A push, and what must come of it: what its events say (only the fields named) and how many pictures there are."""

    name: str
    content_type: str
    body: bytes
    events: tuple[Mapping[str, Any], ...] = ({},)
    pictures: tuple[tuple[str, str, int], ...] = ()
    also: Mapping[str, Any] = field(default_factory=dict)


FIRE = {
    "devices": (MAC,),
    "channel": "2",
    "channel_name": "东李庄高点",
    "type": "fireDetection",
    "active": True,
    "raw_time": TIME,
}
ONE_JPEG = (("image/jpeg", "fireDetection.jpg", len(JPEG)),)
WITH_PICTURE = (TEXT, xml().encode()), (PICTURE, JPEG)
QUOTED = 'multipart/form-data; boundary="boundary"'
PLAIN = "multipart/form-data; boundary=boundary"


def layout(name: str, content_type: str, body: bytes | str, *pictures: tuple[str, str, int], **says: Any) -> Layout:
    """One event, a fire unless it says else."""
    raw = body.encode() if isinstance(body, str) else body
    return Layout(name, content_type, raw, ({**FIRE, **says},), pictures)


FLAT = (
    '{"ipAddress":"10.9.8.7","macAddress":"A4-D5-C2-01-02-03","channelID":2,"dateTime":"2026-06-02T03:10:11+08:00","activePostCount":1,'
    '"eventType":"fireDetection","eventState":"active","channelName":"东李庄高点","isDataRetransmission":false,'
    '"DetectionRegionList":{"DetectionRegionEntry":{"regionID":1,"FireDetection":{"temperatureUnit":"celsius","fireMaxTemperature":180}}}}'
)

LAYOUTS = (
    # the whole body
    layout("xml", 'application/xml; charset="UTF-8"', xml()),
    layout("text_xml", "text/xml", xml()),
    layout("xml_without_declaration", "application/xml", xml(declaration="")),
    layout("xml_called_something_else", "application/octet-stream", xml()),
    layout("xml_of_no_type", "", "\ufeff\r\n  " + xml()),
    layout("json_flat", "application/json", FLAT, temperature_c=180.0, region=""),
    layout("json_wrapped", "application/json", f'{{"EventNotificationAlert":{FLAT}}}', temperature_c=180.0),
    layout(
        "json_with_lists",
        "application/json; charset=utf-8",
        FLAT.replace('{"DetectionRegionEntry":{', '{"DetectionRegionEntry":[{').replace(
            "180}}}", '180}},{"regionID":2}]}'
        ),
        region="2",
        temperature_c=180.0,
    ),
    layout("json_with_members_beside", "application/json", f'{{"version":"2.0","EventNotificationAlert":{FLAT}}}'),
    layout(
        "json_with_line_ends_in_a_name", "application/json", FLAT.replace("高点", "\n高点"), channel_name="东李庄\n高点"
    ),
    layout(
        "json_with_half_a_character", "application/json", FLAT.replace("高点", "\\ud83d"), channel_name="东李庄\ufffd"
    ),
    layout("json_with_control_characters", "application/json", FLAT.replace("高点", "\\u0000高\\u0008点")),
    layout(
        "json_with_lists_of_wrapped_regions",
        "application/json",
        '{"macAddress":"a4d5c2010203","dateTime":"2026-06-02T03:10:11+08:00","channelID":2,"channelName":"东李庄高点","eventType":"TMA",'
        '"DetectionRegionList":[{"DetectionRegionEntry":{"regionID":3,"TMA":{"thermometryUnit":"celsius","currTemperature":88.5}}},'
        '{"DetectionRegionEntry":{"regionID":"2","TMA":{"thermometryUnit":"celsius","currTemperature":61}}}]}',
        type="TMA",
        region="2",
        temperature_c=88.5,
    ),
    layout(
        "json_with_a_list_of_plain_regions",
        "application/json",
        FLAT.replace('{"DetectionRegionEntry":{"regionID":1,"FireDetection":', '[{"regionID":"5","Other":').replace(
            "180}}}", "180}}]"
        ),
        region="5",
    ),
    Layout(
        "json_wrapped_list", "application/json", f'{{"EventNotificationAlert":[{FLAT},{FLAT}]}}'.encode(), (FIRE, FIRE)
    ),
    Layout("several_objects_in_one_part", "application/json", f"{FLAT}\r\n{FLAT}".encode(), (FIRE, FIRE)),
    # multipart
    layout("multipart", PLAIN, multipart(*WITH_PICTURE), *ONE_JPEG),
    layout("boundary_quoted", QUOTED, multipart(*WITH_PICTURE), *ONE_JPEG),
    layout("boundary_with_semicolon", PLAIN + ";", multipart(*WITH_PICTURE), *ONE_JPEG),
    layout("boundary_empty_in_header", "multipart/form-data; boundary=", multipart(*WITH_PICTURE), *ONE_JPEG),
    layout("boundary_not_in_header", "multipart/form-data", multipart(*WITH_PICTURE), *ONE_JPEG),
    layout(
        "boundary_other_than_in_header", "multipart/mixed; boundary=hikboundary", multipart(*WITH_PICTURE), *ONE_JPEG
    ),
    layout("boundary_empty", "multipart/mixed; boundary=", multipart((TEXT, xml().encode()), boundary="", closing=b"")),
    layout("multipart_not_called_so", "application/octet-stream", multipart(*WITH_PICTURE), *ONE_JPEG),
    layout(
        "long_boundary",
        "multipart/form-data; boundary=---------------------------7e13971310878",
        multipart(*WITH_PICTURE, boundary="---------------------------7e13971310878"),
        *ONE_JPEG,
    ),
    layout("lf_only", PLAIN, multipart(*WITH_PICTURE, end=b"\n"), *ONE_JPEG),
    layout("empty_line_before_headers", PLAIN, multipart(*WITH_PICTURE, blank=True), *ONE_JPEG),
    layout("no_last_line_end", PLAIN, multipart(*WITH_PICTURE)[:-2], *ONE_JPEG),
    layout("no_closing_boundary", PLAIN, multipart(*WITH_PICTURE, closing=b"")[:-2], *ONE_JPEG),
    layout("preamble", PLAIN, b"some preamble\r\n" + multipart(*WITH_PICTURE), *ONE_JPEG),
    layout(
        "content_length_right",
        PLAIN,
        multipart((TEXT, xml().encode()), (f"{PICTURE}|Content-Length: {len(JPEG)}", JPEG)),
        *ONE_JPEG,
    ),
    layout(
        "content_length_too_small",
        PLAIN,
        multipart((TEXT, xml().encode()), (f"{PICTURE}|Content-Length: 7", JPEG)),
        *ONE_JPEG,
    ),
    layout(
        "content_length_too_large",
        PLAIN,
        multipart((f"{TEXT}|Content-Length: 999999", xml().encode()), (PICTURE, JPEG)),
        *ONE_JPEG,
    ),
    layout(
        "content_length_no_number",
        PLAIN,
        multipart((f"{TEXT}|Content-Length: many", xml().encode()), (PICTURE, JPEG)),
        *ONE_JPEG,
    ),
    layout(
        "picture_that_holds_the_boundary",
        PLAIN,
        multipart(
            (TEXT, xml().encode()), (f"{PICTURE}|Content-Length: {len(JPEG) + 14}", JPEG + b"\r\n--boundary\r\n")
        ),
        ("image/jpeg", "fireDetection.jpg", len(JPEG) + 14),
    ),
    layout(
        "parts_of_no_type",
        PLAIN,
        multipart((FORM, xml().encode()), (FORM, JPEG)),
        ("image/jpeg", "fireDetection", len(JPEG)),
    ),
    layout(
        "parts_of_a_wrong_type",
        PLAIN,
        multipart(
            (f"{FORM}|Content-Type: image/jpeg", xml().encode()),
            (f"{FORM}|Content-Type: application/octet-stream", JPEG),
        ),
        ("image/jpeg", "fireDetection", len(JPEG)),
    ),
    layout("parts_without_headers", PLAIN, multipart(("", xml().encode()), ("", JPEG)), ("image/jpeg", "", len(JPEG))),
    layout(
        "part_with_filename_and_no_name",
        PLAIN,
        multipart(('Content-Disposition: form-data; filename="anpr.xml"|Content-Type: text/xml', xml().encode())),
    ),
    layout(
        "json_part",
        PLAIN,
        multipart((f"{FORM}|Content-Type: application/json", FLAT.encode()), (PICTURE, JPEG)),
        *ONE_JPEG,
    ),
    layout(
        "png_with_content_id",
        PLAIN,
        multipart(
            (TEXT, xml().encode()),
            ('Content-Disposition: form-data; name="VMDImage"|Content-ID: VMDImage|Content-Type: image/jpeg', PNG),
        ),
        ("image/png", "VMDImage", len(PNG)),
    ),
    layout(
        "pictures_of_one_name_keep_their_order",
        PLAIN,
        multipart((TEXT, xml().encode()), (PICTURE, JPEG), (PICTURE, PNG), (PICTURE, JPEG + b"2")),
        *ONE_JPEG,
        ("image/png", "fireDetection.jpg", len(PNG)),
        ("image/jpeg", "fireDetection.jpg", len(JPEG) + 1),
    ),
    layout("picture_first", PLAIN, multipart((PICTURE, JPEG), (TEXT, xml().encode())), *ONE_JPEG),
    layout(
        "no_line_end_before_boundaries",
        PLAIN,
        multipart(*WITH_PICTURE).replace(b"\r\n--boundary", b"--boundary"),
        *ONE_JPEG,
    ),
    layout(
        "picture_that_holds_the_letters_of_the_boundary",
        PLAIN,
        multipart((TEXT, xml().encode()), (PICTURE, JPEG + b"\r\n--boundary7" + JPEG)),
        ("image/jpeg", "fireDetection.jpg", 2 * len(JPEG) + 13),
    ),
    layout(
        "picture_that_holds_an_empty_boundary",
        "multipart/mixed; boundary=",
        multipart((TEXT, xml().encode()), (PICTURE, JPEG + b"\n--x" + JPEG), boundary="", closing=b"----\r\n"),
        ("image/jpeg", "fireDetection.jpg", 2 * len(JPEG) + 4),
    ),
    layout(
        "boundary_within_another",
        PLAIN,
        multipart(*WITH_PICTURE, boundary="boundary--boundary"),
        *ONE_JPEG,
    ),
    layout(
        "boundary_line_with_blanks",
        PLAIN,
        multipart(*WITH_PICTURE).replace(b"--boundary\r", b"--boundary ;\r"),
        *ONE_JPEG,
    ),
    layout(
        "headers_over_two_lines",
        PLAIN,
        multipart((TEXT, xml().encode()), (PICTURE.replace("; filename", ";|\tfilename"), JPEG)),
        *ONE_JPEG,
    ),
    layout(
        "no_empty_line_behind_headers",
        PLAIN,
        multipart((TEXT, xml().encode()), (PICTURE, JPEG)).replace(b"xml\r\n\r\n<", b"xml\r\n<"),
        *ONE_JPEG,
    ),
    layout("called_multipart_and_is_none", PLAIN, xml()),
    layout(
        "a_part_of_another_kind_beside",
        PLAIN,
        multipart((TEXT, xml().encode()), (TEXT, b"<PictureInfo><name>1</name></PictureInfo>"), (PICTURE, JPEG)),
        *ONE_JPEG,
    ),
    layout("picture_that_is_empty", PLAIN, multipart((TEXT, xml().encode()), (PICTURE, b""))),
    Layout(
        "several_roots_in_one_part",
        PLAIN,
        multipart((TEXT, (xml() + "\n" + xml("smokeDetection", declaration="")).encode())),
        (FIRE, {**FIRE, "type": "smokeDetection"}),
    ),
    layout("something_behind_the_root", "application/xml", xml() + "<!-- sent -->\r\nOK\0"),
    # namespaces
    *(
        layout(f"namespace_{number}", "application/xml", xml(namespace=namespace))
        for number, namespace in enumerate(
            (
                "",
                "http://www.hikvision.com/ver10/XMLSchema",
                "http://www.hikvision.com/ver20/XMLSchema",
                "http://www.std-cgi.com/ver20/XMLSchema",
                "urn:psialliance-org",
            )
        )
    ),
    layout("namespace_prefixed", "application/xml", xml(prefix="ns1")),
    layout("namespace_prefixed_and_not_declared", "application/xml", xml(prefix="ns1", namespace="")),
    # encodings
    layout(
        "gb18030_declared",
        "application/xml",
        xml(declaration='<?xml version="1.0" encoding="GB2312"?>').encode("gb18030"),
    ),
    layout("gb18030_not_declared", "application/xml", xml(declaration="").encode("gb18030")),
    layout("gb18030_called_utf_8", 'application/xml; charset="UTF-8"', xml().encode("gb18030")),
    layout(
        "utf_8_called_gb2312_by_http",
        "application/xml; charset=utf-8",
        xml(declaration='<?xml version="1.0" encoding="gb2312"?>'),
    ),
    layout("utf_16", "application/xml", b"\xff\xfe" + xml(declaration="").encode("utf-16-le")),
    layout("unknown_charset", "application/xml; charset=hik-8", xml()),
    layout("charset_that_is_no_text", "application/xml; charset=punycode", xml()),
    layout("charset_that_is_no_name", PLAIN, multipart((f"{TEXT}; charset=a\0b", xml().encode()))),
    layout("utf_8_called_latin_1", "application/xml; charset=ISO-8859-1", xml()),
    layout("utf_8_called_utf_16", "application/xml; charset=utf-16", xml()),
    layout("utf_16_without_mark", "application/xml; charset=utf-16le", xml(declaration="").encode("utf-16-le")),
    layout(
        "name_cut_in_a_character",
        "application/xml",
        xml().encode().replace("高点".encode(), "高点".encode()[:-1]),
        channel_name="东李庄高\ufffd",
    ),
    layout(
        "name_cut_in_a_character_of_gb18030",
        "application/xml",
        xml(declaration="").encode("gb18030").replace("高点".encode("gb18030"), "高点".encode("gb18030")[:-1]),
        channel_name="东李庄高\ufffd",
    ),
    layout("ampersand_in_a_name", "application/xml", xml(name="东厂&西厂 &amp; &#65;"), channel_name="东厂&西厂 & A"),
    layout("control_characters_in_a_name", "application/xml", xml(name="东李庄\x00高点\x08")),
    # fields and their troubles
    layout("mac_with_dashes_and_capitals", "application/xml", xml(mac="A4-D5-C2-01-02-03")),
    layout(
        "no_mac_but_a_serial_number",
        "application/xml",
        xml(without=("macAddress",), more="<Extensions><serialNumber> DS-2CD \n 0123 </serialNumber></Extensions>"),
        devices=("DS-2CD0123",),
    ),
    layout(
        "no_mac_but_device_ids",
        "application/xml",
        xml(without=("macAddress",), more="<deviceID>34020000001320000001</deviceID><devIndex>7A</devIndex>"),
        devices=("34020000001320000001", "7A"),
    ),
    layout(
        "dynamic_channel",
        "application/xml",
        xml(without=("channelID",), more="<dynChannelID>33</dynChannelID>"),
        channel="33",
    ),
    layout(
        "channel_empty_and_dynamic",
        "application/xml",
        xml(channel="", more="<dynChannelID>34</dynChannelID>"),
        channel="34",
    ),
    layout(
        "channel_nought_and_dynamic",
        "application/xml",
        xml(channel="0", more="<dynChannelID>35</dynChannelID>"),
        channel="35",
    ),
    layout("no_channel", "application/xml", xml(without=("channelID",)), channel=""),
    *(
        layout(f"state_{state or 'none'}", "application/xml", xml(state=state))
        for state in ("Active", " ACTIVE ", "true", "1", "")
    ),
    *(
        layout(f"state_{state}", "application/xml", xml(state=state), active=False)
        for state in ("inactive", "Inactive", "Stop", "end", "false", "0")
    ),
    layout("no_state", "application/xml", xml(without=("eventState",))),
    layout(
        "duration",
        "application/xml",
        xml(
            "duration",
            more="<DurationList><Duration><relationEvent>fielddetection</relationEvent></Duration></DurationList>",
        ),
        type="fielddetection",
        goes_on=True,
    ),
    layout(
        "several_regions",
        "application/xml",
        xml(
            "fielddetection",
            more="<DetectionRegionList><DetectionRegionEntry><regionID>1</regionID><detectionTarget>human</detectionTarget></DetectionRegionEntry><DetectionRegionEntry><regionID>3</regionID></DetectionRegionEntry></DetectionRegionList>",
        ),
        type="fielddetection",
        region="1",
        target="human",
    ),
    layout("target_at_the_top", "application/xml", xml(more="<targetType>vehicle</targetType>"), target="vehicle"),
    layout("fire_points", "application/xml", xml(more=FIRE_REGION), temperature_c=180.0, region=""),
    layout(
        "fire_points_that_are_several",
        "application/xml",
        xml(
            more=FIRE_REGION.replace(
                "</DetectionRegionList>",
                "<DetectionRegionEntry><regionID>2</regionID><FireDetection><temperatureUnit>celsius</temperatureUnit><fireMaxTemperature>240.5"
                "</fireMaxTemperature><targetDistance>-1</targetDistance></FireDetection></DetectionRegionEntry></DetectionRegionList>",
            )
        ),
        temperature_c=240.5,
        region="",
    ),
    layout(
        "fire_in_fahrenheit",
        "application/xml",
        xml(more=FIRE_REGION.replace("celsius", "fahrenheit").replace("180", "356")),
        temperature_c=180.0,
    ),
    layout(
        "temperature_alarm",
        "application/xml",
        xml(
            "TMA", more="<TMA><thermometryUnit>kelvin</thermometryUnit><currTemperature>373.15</currTemperature></TMA>"
        ),
        type="TMA",
        temperature_c=100.0,
    ),
    layout(
        "temperature_that_is_none", "application/xml", xml(more=FIRE_REGION.replace("180", "hot")), temperature_c=None
    ),
    layout(
        "retransmission_with_uuid",
        "application/xml",
        xml(more="<isDataRetransmission>true</isDataRetransmission><UUID>5a1b7c2d-0000-4c1e</UUID>"),
        retransmitted=True,
        uuid="5a1b7c2d-0000-4c1e",
    ),
    layout("uuid_too_short_to_be_one", "application/xml", xml(more="<UUID>1</UUID>"), uuid=""),
    layout(
        "ai_rule_by_name",
        "application/xml",
        xml("AIOP_Video", more="<AIOPVideo><ruleName>裸土未覆盖</ruleName></AIOPVideo>"),
        type="AIOP_Video",
        texts=("裸土未覆盖",),
        region="裸土未覆盖",
    ),
    layout(
        "ai_rule_deep_in_json",
        "application/json",
        FLAT.replace('"fireDetection"', '"AIOP_Video"').replace(
            '"DetectionRegionList":',
            '"taskName":"东区","AIOPData":{"targets":[{"obj":{"type":1}}],"events":{"alertInfo":[{"ruleInfo":{"ruleID":"1","ruleName":"裸土未覆盖"}}]}},'
            '"eventDescription":"AI","x":',
        ),
        type="AIOP_Video",
        texts=("裸土未覆盖", "东区", "AI"),
        region="裸土未覆盖",
    ),
    layout("alarm_input", "application/xml", xml("IO", more="<inputIOPortID>4</inputIOPortID>"), type="IO", region="4"),
    layout(
        "difference_of_temperatures_is_none",
        "application/xml",
        xml(
            "TDA",
            more="<TDA><thermometryUnit>celsius</thermometryUnit><currTemperatureDiff>14.5</currTemperatureDiff></TDA>",
        ),
        type="TDA",
        temperature_c=None,
    ),
    layout("place", "application/xml", xml(more=GPS), place=(113.9208333, 34.7)),
    layout(
        "place_in_the_west_and_south",
        "application/xml",
        xml(more=GPS.replace(">E<", ">W<").replace(">N<", ">S<")),
        place=(-113.9208333, -34.7),
    ),
    layout("place_that_is_none", "application/xml", xml(more=re.sub(r">\d+<", ">0<", GPS)), place=None),
    layout("place_that_cannot_be", "application/xml", xml(more=GPS.replace(">113<", ">181<")), place=None),
    layout("place_half", "application/xml", xml(more=GPS.replace(">34<", ">north<")), place=None),
    layout(
        "number_plate_is_not_kept",
        "application/xml",
        xml("ANPR", more="<ANPR><licensePlate>豫A12345</licensePlate></ANPR>"),
        type="ANPR",
        texts=(),
    ),
    layout(
        "header_fields_deeper_do_not_count",
        "application/xml",
        xml(more="<Extra><eventState>inactive</eventState><channelID>9</channelID></Extra>"),
    ),
    layout("heartbeat", "application/xml", xml("videoloss", "inactive"), type="videoloss", active=False),
)
