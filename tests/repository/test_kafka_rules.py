"""How the Kafka client may be used, as far as the text of the program shows it. What only its behaviour shows: `tests/faults/test_transactions.py`.

The letters are those of `tests/faults/README.md`, which says which rule is held by what.
"""

import ast
from collections.abc import Iterator

import pytest

from tests.repository.test_imports import ONLY_IN, ROOT, imports, modules

# Where the library's default would do harm, or another release could change it.
CONSUMER = {
    *("bootstrap_servers", "auto_offset_reset", "enable_auto_commit", "isolation_level", "allow_auto_create_topics"),
    *("kafka_client", "bootstrap_timeout_ms"),
}
GROUP = {"partition_assignment_strategy", "session_timeout_ms", "max_poll_interval_ms", "max_poll_records"}
PRODUCER = {
    *("bootstrap_servers", "acks", "allow_auto_create_topics", "delivery_timeout_ms", "max_block_ms"),
    *("kafka_client", "bootstrap_timeout_ms"),
}
LISTENING = {"on_partitions_revoked", "on_partitions_assigned", "on_partitions_lost"}
# What a client leaves behind in a forked process does not work, and takes part in nothing.
FORKS = {"multiprocessing", "os.fork", "os.forkpty", "pty", "concurrent.futures.ProcessPoolExecutor"}
NEVER = {
    "abort_transaction": "D: it waits without limit; init_transactions of a new producer aborts",
    "commit_async": "offsets go along with a transaction, or nowhere",
    "commit": "offsets go along with a transaction, or nowhere",
    "seek_to_end": "what lies there would never be read",
}
GIVEN_UP_IN = "discard"
ASKED_IN = "position"
TOLD = {"end_offsets", "beginning_offsets"}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Each call, by the last part of its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    yield name, node


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node


def words(call: ast.Call, around: ast.AST) -> set[str]:
    """The settings that a call gives, those in dictionaries of the function around it too."""
    given = {one.arg for one in call.keywords if one.arg}
    if any(one.arg is None for one in call.keywords):
        displays = [node for node in ast.walk(around) if isinstance(node, ast.Dict)]
        given |= {str(key.value) for one in displays for key in one.keys if isinstance(key, ast.Constant)}
    return given


def settings(name: str, call: ast.Call, around: ast.AST) -> Iterator[str]:
    """What a client is not told, and what no client is told."""
    given = words(call, around)
    if name == "KafkaConsumer":
        yield from (f"{name} without {one}" for one in sorted(CONSUMER - given))
    if name in {"KafkaConsumer", "_consumer"} and any(
        one.arg == "group_id" and not (isinstance(one.value, ast.Constant) and one.value.value is None)
        for one in call.keywords
    ):
        yield from (f"a group without {one}" for one in sorted(GROUP - given))
    if name == "KafkaProducer":
        yield from (f"{name} without {one}" for one in sorted(PRODUCER - given))
        if not given & {"enable_idempotence", "transactional_id"}:
            yield "KafkaProducer neither idempotent nor transactional, by its own word"
    if "group_instance_id" in given:
        yield "4.1: a static member does not leave its group when it ends"


def membership(tree: ast.AST) -> Iterator[str]:
    """4.5: a group by its name alone fences nobody."""
    for name, call in calls(tree):
        if name == "send_offsets_to_transaction":
            given = [*call.args[1:2], *(one.value for one in call.keywords if one.arg == "group_metadata")]
            for one in given:
                last = one.attr if isinstance(one, ast.Attribute) else one.id if isinstance(one, ast.Name) else ""
                if last != "group":
                    yield f"offsets for {ast.unparse(one)}, which is not what a poll gave"
    for function in functions(tree):
        asked = [one for name, one in calls(function) if name == "group_metadata"]
        if asked and function.name not in {"poll", "assignment"}:
            yield f"J: {function.name} asks for the membership apart from the records"


def listeners(tree: ast.AST) -> Iterator[str]:
    """9, K, M: a listener runs on the library's thread: it has all three methods, and sets flags."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any("RebalanceListener" in ast.unparse(base) for base in node.bases):
            own = {one.name: one for one in node.body if isinstance(one, ast.FunctionDef)}
            yield from (f"K: {node.name} without {one}" for one in sorted(LISTENING - own.keys()))
            for name in sorted(LISTENING & own.keys()):
                if any(not isinstance(one, ast.Assign | ast.AugAssign) for one in own[name].body) or any(
                    calls(own[name])
                ):
                    yield f"M: {node.name}.{name} does more than set a flag"


def ends(tree: ast.AST) -> Iterator[str]:
    """E: closing may raise, and wait; what it raises must not hide what is being told, and a producer is given up in one place."""
    guarded = {
        id(call)
        for node in ast.walk(tree)
        if isinstance(node, ast.With) and "suppress(KafkaError" in ast.unparse(node.items[0].context_expr)
        for _, call in calls(node)
    }
    for function in functions(tree):
        for name, call in calls(function):
            of = ast.unparse(call.func).rpartition(".")[0].rpartition(".")[2].lstrip("_")
            if name == "close" and of in {"producer", "consumer", "raw"}:
                if id(call) not in guarded:
                    yield f"E: {ast.unparse(call)} is not guarded"
                if of == "producer" and function.name != GIVEN_UP_IN:
                    yield f"E: a producer is given up in {GIVEN_UP_IN} only"
                if of != "producer" and not any(one.arg == "autocommit" for one in call.keywords):
                    yield f"{ast.unparse(call)} may commit offsets"


def places(tree: ast.AST) -> Iterator[str]:
    """N: where nobody has told in time, the library gives None for an offset, and KeyError for where what nobody leads ends; each is seen in one place."""
    yield from (f"N: {ast.unparse(call)} may raise KeyError" for name, call in calls(tree) if name in TOLD)
    for function in functions(tree):
        for name, call in calls(function):
            if (
                name == "position"
                and ast.unparse(call.func).endswith("consumer.position")
                and function.name != ASKED_IN
            ):
                yield f"N: {ast.unparse(call)} may be None"


def transaction(tree: ast.AST) -> Iterator[str]:
    """4.5: whatever fails between begin and commit is handled in one way, whichever error it is; what fails in the commit in another."""
    for function in functions(tree):
        if not any(name == "begin_transaction" for name, _ in calls(function)):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Try):
                inside = {name for part in node.body for name, _ in calls(part)}
                if {"begin_transaction", "commit_transaction"} <= inside:
                    yield "4.5: one handler for what has not happened and for what may have"
                if inside & {"begin_transaction", "commit_transaction"} and len(node.handlers) != 1:
                    yield "4.5: a way of its own for some errors between begin and commit"
        if any(name == "isinstance" for name, _ in calls(function)):
            yield "4.5: a branch on an error's class between begin and commit"


def wrong(text: str, *, of_kafka: bool) -> list[str]:
    """What breaks a rule in the text of a module; `of_kafka`: one that may import the client."""
    tree = ast.parse(text)
    found = [f"I: {name}" for name in imported(tree) if name in FORKS]
    found += [f"H: {ast.unparse(call)}" for name, call in calls(tree) if name == "getLogger" and told_by_kafka(call)]
    if of_kafka:
        for function in functions(tree):
            for name, call in calls(function):
                found += settings(name, call, function)
        found += [f"{name}: {NEVER[name]}" for name, _ in calls(tree) if name in NEVER]
        found += [*membership(tree), *listeners(tree), *ends(tree), *places(tree), *transaction(tree)]
    return list(dict.fromkeys(found))


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (one.name.partition(".")[0] for one in names)
            case ast.ImportFrom(module=module, names=names):
                yield from (f"{module}.{one.name}" for one in names)
                yield str(module)
            case ast.Attribute(value=ast.Name(id="os"), attr=name):
                yield f"os.{name}"


def told_by_kafka(call: ast.Call) -> bool:
    """Its loggers fall silent with the first producer that is collected: nothing may be read from them, only put away."""
    return any(isinstance(one, ast.Constant) and str(one.value).startswith("kafka.") for one in call.args)


@pytest.mark.parametrize("module", modules("hub") + modules("connectors"))
def test_each_module_keeps_the_rules(module: str) -> None:
    text = (ROOT / module).read_text(encoding="utf-8")
    assert not wrong(text, of_kafka=module in ONLY_IN["kafka"])


def test_where_the_rules_are_kept_there_is_something_to_keep() -> None:
    texts = [(ROOT / module).read_text(encoding="utf-8") for module in sorted(ONLY_IN["kafka"])]
    names = [name for text in texts for name, _ in calls(ast.parse(text))]
    assert names.count("KafkaProducer") == 3
    assert names.count("KafkaConsumer") == 2
    assert {"send_offsets_to_transaction", "group_metadata", "begin_transaction", "commit_transaction"} <= set(names)
    assert all("kafka" in {one.partition(".")[0] for one in imports(ROOT / module)} for module in ONLY_IN["kafka"])


def consumer(*without: str, also: str = "") -> str:
    given = ", ".join(f"{one}=None" for one in sorted(CONSUMER - set(without)))
    return f"def make():\n    return KafkaConsumer({given}{also})\n"


def producer(*without: str, also: str = ", transactional_id='x'") -> str:
    given = ", ".join(f"{one}=None" for one in sorted(PRODUCER - set(without)))
    return f"def make():\n    return KafkaProducer({given}{also})\n"


def listener(
    revoked: str = "self.changes += 1", lost: str = "def on_partitions_lost(self, _): self.lost = True"
) -> str:
    return (
        "class Listener(ConsumerRebalanceListener):\n"
        f"    def on_partitions_revoked(self, _): {revoked}\n"
        "    def on_partitions_assigned(self, _): self.joined = True\n"
        f"    {lost}\n"
    )


@pytest.mark.parametrize("text", [consumer(), producer(), listener(), "told(raw.end_offsets, places, 9)"])
def test_what_is_right_is_left_alone(text: str) -> None:
    assert wrong(text, of_kafka=True) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        *((consumer(one), f"KafkaConsumer without {one}") for one in sorted(CONSUMER)),
        *((producer(one), f"KafkaProducer without {one}") for one in sorted(PRODUCER)),
        (producer(also=""), "KafkaProducer neither idempotent nor transactional, by its own word"),
        (consumer(also=", group_id='x', session_timeout_ms=1, max_poll_interval_ms=1"), "a group without max_poll_records"),
        ("def make(): _consumer(group_id=GROUP)", "a group without partition_assignment_strategy"),
        (consumer(also=", group_instance_id='x'"), "4.1: a static member does not leave its group when it ends"),
        ("p.send_offsets_to_transaction(o, 'gridhub-router')", "offsets for 'gridhub-router', which is not what a poll gave"),
        ("p.send_offsets_to_transaction(o, self.GROUP)", "offsets for self.GROUP, which is not what a poll gave"),
        ("p.send_offsets_to_transaction(o, group_metadata=f'{x}')", "offsets for f'{x}', which is not what a poll gave"),
        ("def commit_now(self): x = c.group_metadata()", "J: commit_now asks for the membership apart from the records"),
        ("def end(p): p.abort_transaction()", f"abort_transaction: {NEVER['abort_transaction']}"),
        ("def end(c): c.commit()", f"commit: {NEVER['commit']}"),
        (listener("c.commit()"), f"commit: {NEVER['commit']}"),
        (listener("self.forget()"), "M: Listener.on_partitions_revoked does more than set a flag"),
        (listener("raise ValueError"), "M: Listener.on_partitions_revoked does more than set a flag"),
        (listener(lost="x = 1"), "K: Listener without on_partitions_lost"),
        ("def at(self): return self._consumer.position(place)", "N: self._consumer.position(place) may be None"),
        ("ends = self._consumer.end_offsets(places)", "N: self._consumer.end_offsets(places) may raise KeyError"),
        ("begins = raw.beginning_offsets([place])", "N: raw.beginning_offsets([place]) may raise KeyError"),
        ("def end(self): self._producer.close(timeout=1)", "E: self._producer.close(timeout=1) is not guarded"),
        ("def end(self):\n with suppress(KafkaError): producer.close()", "E: a producer is given up in discard only"),
        ("def end(self):\n with suppress(KafkaError): self._consumer.close()", "self._consumer.close() may commit offsets"),
        (
            "def commit(p):\n try:\n  p.begin_transaction()\n  p.commit_transaction()\n except KafkaError: pass",
            "4.5: one handler for what has not happened and for what may have",
        ),
        (
            "def commit(p):\n try: p.begin_transaction()\n except A: pass\n except B: pass",
            "4.5: a way of its own for some errors between begin and commit",
        ),
        (
            "def commit(p):\n try: p.begin_transaction()\n except A as a:\n  if isinstance(a, B): pass",
            "4.5: a branch on an error's class between begin and commit",
        ),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_of_the_client_is_named(text: str, told: str) -> None:
    assert told in wrong(text, of_kafka=True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import multiprocessing.pool", "I: multiprocessing"),
        ("from multiprocessing import Pool", "I: multiprocessing"),
        ("from concurrent.futures import ProcessPoolExecutor", "I: concurrent.futures.ProcessPoolExecutor"),
        ("import os\nos.fork()", "I: os.fork"),
        ("logging.getLogger('kafka.producer.kafka')", "H: logging.getLogger('kafka.producer.kafka')"),
    ],
)
def test_what_breaks_a_rule_anywhere_is_named(text: str, told: str) -> None:
    assert told in wrong(text, of_kafka=False)
