"""The menu of protocols: what a name leads to, and one sentence for what is no protocol."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from consensus.protocols import PROTOCOLS, load_protocol
from consensus.replica import NOT_SAID, Replica

HANDLERS = """
    def on_start(self, recovered): ...
    def on_message(self, sender, message): ...
    def on_timer(self, timer): ...
"""
WHOLE = f"""
from consensus.protocols.pbft import Pbft
from consensus.replica import Replica

class Whole(Replica):
    facts, Parameters, messages = Pbft.facts, Pbft.Parameters, Pbft.messages
{HANDLERS}
"""


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_of_the_menu_loads(name: str) -> None:
    assert issubclass(load_protocol(name), Replica)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_ours_say_all_there_is_to_say(name: str) -> None:
    facts = load_protocol(name).facts
    assert facts.name == name
    assert facts.shape is not None
    assert NOT_SAID not in msgspec.structs.astuple(facts)


def load(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str) -> type[Replica]:
    """A protocol from a module of its own, that no other test has imported."""
    module = f"outside_{folder.name}"
    (folder / f"{module}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    return load_protocol(f"{module}:{name}")


def test_a_whole_one_from_outside_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(tmp_path, monkeypatch, WHOLE, "Whole").__name__ == "Whole"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("class Mine(", "cannot be loaded: SyntaxError: '(' was never closed"),
        ("raise RuntimeError('two\\nlines')", "cannot be loaded: RuntimeError: two lines"),
        ("assert False", "cannot be loaded: AssertionError"),
        ("import no_such_module", "cannot be loaded: No module named 'no_such_module'"),
        ("", "cannot be loaded: module 'outside_"),
        ("Mine = 3", "is not a subclass of consensus.replica.Replica"),
        (
            "from consensus.replica import Replica as Mine",
            "does not define on_message, on_start, on_timer, facts, Parameters, messages",
        ),
        (
            f"import abc\n{WHOLE}\nclass Mine(Whole):\n    @abc.abstractmethod\n    def rule(self): ...",
            "does not define rule",
        ),
        (f"{WHOLE}\nclass Mine(Replica):\n    facts = Whole.facts\n{HANDLERS}", "does not define Parameters, messages"),
        (
            f"{WHOLE}\nclass Mine(Replica):\n    Parameters, messages = Whole.Parameters, ()\n{HANDLERS}",
            "does not define facts",
        ),
        ("raise SystemExit(3)", "cannot be loaded: SystemExit: 3"),
        (
            f"{WHOLE}\nclass Mine(Whole):\n    facts = 'none'",
            "declares facts that are no consensus.replica.ProtocolFacts",
        ),
        (
            f"{WHOLE}\nclass Mine(Whole):\n    Parameters = dict",
            "declares Parameters that are no subclass of msgspec.Struct",
        ),
        *(
            (
                f"{WHOLE}\nclass Mine(Whole):\n    messages = {messages}",
                "declares messages that are no tuple of subclasses of consensus.messages.Message",
            )
            for messages in ("()", "Pbft.messages[0]", "(int,)", "(Pbft,)", "list(Pbft.messages)")
        ),
        (
            f"{WHOLE}\nfrom consensus.messages import Message\nclass Vote(Message, tag=True, array_like=True): ...\n"
            "class Mine(Whole):\n    messages = (*Pbft.messages, Vote)",
            "declares messages that are not to be told apart on the wire: TypeError: ",
        ),
    ],
)
def test_what_is_no_protocol_is_one_sentence_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, why: str
) -> None:
    with pytest.raises(LookupError) as caught:
        load(tmp_path, monkeypatch, text, "Mine")
    sentence = str(caught.value)
    assert sentence.startswith(f"protocol 'outside_{tmp_path.name}:Mine' {why}")
    assert "\n" not in sentence
