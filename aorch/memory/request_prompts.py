"""Finds the statements of a REQUEST itself, without the examples, formats and instructions of a prompt."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from aorch.memory import safe_text

_FENCE = re.compile(r"(?ms)^[ \t]*(```|~~~)[^`\n]*$.*?(?:^[ \t]*\1[^\n]*$|\Z)")
"""A fence has no backticks after its opening (https://spec.commonmark.org/0.31.2/#fenced-code-blocks): ```yes``` is a word."""
_CODE_MARKS = ("```", "~~~", "diff --git ", "<<<<<<< ")
_CODE_BLOCK = re.compile(
    r"(?ms)^[ \t]*(```|~~~)[^`\n]*$.*?(?:^[ \t]*\1[^\n]*$|\Z)"  # a fence
    r"|^<{7} .*?^>{7}[^\n]*$"  # an edit as a conflict
    r"|^diff --git [^\n]*\n(?:(?:index |new file|deleted file|similarity |rename |--- |\+\+\+ |@@ |[ +\-\\])[^\n]*\n?)+"
)
"""Code in an answer: fenced, as a conflict of two versions, or as a difference."""
_FILE, _FILE_LINE = re.compile(r"(?:^|[\s`*'\"(])([\w./-]{1,100}\.[a-zA-Z]\w{0,5})\b"), 120
"""The name of a file on the line before its code, and the characters of such a line."""
_CLASS = re.compile(r"^(?:export |public |abstract |final ){0,3}(?:class|struct|interface) (\w{3,60})\b", re.MULTILINE)
_COMMENT, _FIRST_LINES = re.compile(r"\s*(?:#|//|--) ?[^\W\d_]+:?(?: +\S+)"), 12
"""A comment of several words, and the lines of a block of code in which the first one is searched."""
_MOST_CODE = 20_000
"""Characters of an answer in which names of files and classes are searched."""
_EXAMPLE = re.compile(
    r"\b(?:for example|for instance|e\.g\.|such as|like this|as follows|in the form(?:at)?\b|few.shot|templates?:|"
    r"beispiel\b|z\. ?b\.|par exemple|por ejemplo|например|"
    r"(?:example|sample|expected|desired)s?(?: \w{1,20}){0,3} ?[:：]|(?:output|answer|response|reply) (?:format|template|schema))"
    r"|(?:例如|比如|示例|例子|举例|格式)",
    re.IGNORECASE,
)
_HEADING = re.compile(
    r"^[#*\s]{0,8}(?:few.shot )?(?:examples?|samples?|(?:output |answer )?format|template)\b[^.!?]{0,40}$"
    r"|^[#*\s]{0,8}instructions:[*\s]{0,4}$",
    re.IGNORECASE,
)
_TURN = re.compile(
    r"^\s{0,8}[*\"']{0,2}(?:user|human|assistant|ai|bot|system|customer|agent|input|output|question|answer|[qa])\s{0,2}\d{0,3}[*]{0,2}\s{0,2}[:：]",
    re.IGNORECASE,
)
_QUOTED = re.compile(
    r"\"[^\"\n]{8,2000}\"|“[^”\n]{8,2000}”|«[^»\n]{8,2000}»|`[^`\n]{8,2000}`|(?<![^\s(:,])'[^'\n]{8,2000}'(?![^\s.,;:!?)])"
)
_INSTRUCTS = re.compile(
    r"^(?:\W{0,4}|please |then |if [^,]{1,80}, )(?:say|write|answer|reply|respond|state|output|return|print|report|assume|"
    r"pretend|imagine|suppose|include|begin|start|finish|end|format|summari[sz]e|list|extract|find|check|explain|decide|describe|tell|give|translate|correct|proofread|rewrite|rephrase|paraphrase|"
    r"shorten|classify|label|rate|analy[sz]e|review|repeat|quote|read|parse|convert|improve|continue|complete)\b"
    r"|\b(?:claim|allege|pretend|believe|think|say|wr[io]te|spoken?|read)(?:s|d|ed)? that\b"
    r"|\byou(?:['’](?:re|ll)|['’]ve)?(?: (?:are|must|should|will|can|may|need|have))\b"
    r"|\byour (?:task|job|role|goal|answer|reply|output|response)\b",
    re.IGNORECASE,
)
_CUES = (
    "exampl", "instance", "e.g.", "such as", "like this", "as follows", "in the form", "few", "template", "beispiel", "z.",
    "exempl", "ejemplo", "sample", "expected", "desired", "format", "schema", "instruct", "```", "~~~", ">", ":", "：",
    "например", "例如", "比如", "示例", "例子", "举例", "格式",
)  # fmt: skip
"""What a text has one of if it has examples, formats, instructions, code or a dialogue: it is searched before the patterns."""
_FOLDING = frozenset("ıİſ\u212a")
"""Letters that patterns without regard to case also find for `i`, `s` and `k`."""
_UNSPOKEN = frozenset(
    (
        "system", "system_prompt", "instruction", "instructions", "example", "examples", "few_shot", "fewshot", "shots",
        "template", "prompt_template", "format", "output_format", "response_format", "schema", "rules", "guidelines",
    )
)  # fmt: skip
"""Keys of instructions and examples in a payload."""
_DEEPEST = 16


def prose(said: str) -> tuple[str, int]:
    """The part of what an agent says that is not code, and the number of pieces of code; all of it if it is only code."""
    read = "\n".join(safe_text.ends_of(said))
    if not any(map(read.__contains__, _CODE_MARKS)):
        return said, 0
    text, pieces = _CODE_BLOCK.subn(_told_by, read)
    return (text, pieces) if pieces and text.strip() else (said, 0)


def _told_by(block: re.Match[str]) -> str:
    """What a block of code is: its only line (a command, a version or another value), or the comment at its start."""
    lines = block[0].strip().split("\n")
    if block[1] and (len(lines) == 3 or any(map(_COMMENT.match, lines[1:2]))):
        return f"\n{lines[1].strip()}\n"
    comment = next((line.strip() for line in lines[1:_FIRST_LINES] if _COMMENT.match(line)), "") if block[1] else ""
    return f"\n{comment}\n"


def fenced_code(said: str) -> tuple[str, list[tuple[str, str]], str]:
    """The text before the fenced code in an answer, each block with what `prose` has instead of it, and the text after the last.

    A block of a single line is text: a command, a version or another value.
    """
    read = said[:_MOST_CODE]
    found = [block for block in _FENCE.finditer(read) if block[0].strip().count("\n") > 2] if "```" in read else []
    if not found:
        return read, [], ""
    inner = [block[0].strip().partition("\n")[2].rpartition("\n")[0] for block in found]
    told = [_told_by(block).strip() for block in found]
    return read[: found[0].start()], list(zip(inner, told, strict=True)), read[found[-1].end() :]


def names_of_code(said: str) -> Iterator[tuple[str, str]]:
    """The names of the files and classes of which an answer contains the code, each with what it is."""
    read = said[:_MOST_CODE]
    for block in _CODE_BLOCK.finditer(read):
        if named := _FILE.search(read[: block.start()].rstrip().rpartition("\n")[2][-_FILE_LINE:]):
            yield "file", named[1]
        yield from (("class", name) for name in _CLASS.findall(block[0]))


def without_examples(said: str) -> str:
    """The part of `said` that is read, without code, examples, formats and sample dialogues."""
    read = "\n".join(safe_text.ends_of(said))
    folded = read.lower()
    if not any(map(folded.__contains__, _CUES)) and _FOLDING.isdisjoint(read):
        return read
    return "\n".join(_lines(_FENCE.sub("\n\n", read).split("\n")))


def _lines(lines: list[str]) -> Iterator[str]:
    sample = sum(bool(_TURN.match(line)) for line in lines) > 1
    inside = False
    for line in lines:
        inside = inside and bool(line.strip())
        if inside or (sample and _TURN.match(line)) or line.lstrip().startswith(">"):
            continue
        if _HEADING.match(line):
            inside = True
            continue
        cue = _EXAMPLE.search(line)
        if cue is None:
            yield line
            continue
        inside = line.rstrip().endswith((":", "："))
        yield from _before(line, cue.start())


def _before(line: str, end: int) -> Iterator[str]:
    """The sentences of `line`. Of the sentence at `end`, only the part before `end` is kept."""
    place = 0
    for sentence in safe_text.sentences(line):
        start = line.find(sentence, place)
        place = start + len(sentence)
        if start <= end < place:
            yield sentence[: end - start].rstrip(" ,;:(")
        else:
            yield sentence


def spoken(payload: Any, depth: int = 0) -> Any:
    """`payload` without values under keys of instructions and examples, and without system messages."""
    if depth > _DEEPEST:
        return None
    if isinstance(payload, dict | Mapping):
        if str(payload.get("role")).lower() in ("system", "developer"):
            return None
        return {key: spoken(value, depth + 1) for key, value in payload.items() if str(key).lower() not in _UNSPOKEN}
    if isinstance(payload, list | tuple):
        return [spoken(item, depth + 1) for item in payload[:400]]
    return without_examples(payload) if isinstance(payload, str) and " " in payload else payload


def instructs(sentence: str) -> bool:
    """Whether a sentence tells an agent what to do or say, so it states nothing itself."""
    return bool(_INSTRUCTS.search(sentence[:300]))


def instructs_to_say(sentence: str) -> bool:
    """Whether a sentence begins by telling an agent to say something."""
    return bool(_INSTRUCTS.match(sentence[:300]))


def unquoted(sentence: str) -> str:
    """`sentence` without its quotations."""
    return _QUOTED.sub(" … ", sentence)
