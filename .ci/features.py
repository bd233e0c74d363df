#!/usr/bin/env python3
"""The feature table by Istio's fields, from features.toml: each *works* names tests that this run executed.

    features.py [--logs DIR] [--full]   checks everything; DIR is what .ci/run left of this run
    features.py --write                 writes the page and README's table anew
    features.py --missing               rows for the fields that have none, ready to be filled in
    features.py [--logs DIR] --control  lies that have to be found

Without DIR, or when not all stages that it needs have left a log there, only the names are looked up in the sources,
and it says so; with --full that is an error.
"""

import copy
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROWS = ROOT / "examples/interop/features.toml"
ISTIO = ROOT / "mesh-xds/istio/src"
ORACLE = ROOT / "examples/interop/oracle/src/fields.rs"
PAGE = ROOT / "mesh-xds/istio/docs/features.md"
README = ROOT / "README.md"
MARKS = ("<!-- features: written by .ci/features.py -->", "<!-- features end -->")
STATES = {
    "works": "works",
    "untested": "obeyed, not tested",
    "read": "read, no effect yet",
    "not_yet": "not yet",
    "refused": "refused",
}
# The stages of .ci/run that execute what the rows name.
LOGS = ("tests.log", "oracle.log", "istiod.log")
# Packages whose tests make calls, or take the very decision of a call. The others only see what is sent to a client.
CALLS = {"mesh-tower", "mesh-tower-core", "bookinfo-rs", "meshctl", "mesh-examples"}


# --- what mesh-istio knows


def schemas():
    """Every `const X: Schema` of mesh-istio, as `file::X` -> (served, unserved). One that cannot be read is an error."""
    constant = re.compile(
        r"const (\w+): Schema = Schema \{\s*served: &\[(.*?)\],\s*(?://[^\n]*\s*)*unserved: &\[(.*?)\],\s*\};", re.S
    )
    found, errors = {}, []
    for file in sorted(ISTIO.rglob("*.rs")):
        text = file.read_text()
        place = file.relative_to(ISTIO).with_suffix("").as_posix().removeprefix("kinds/")
        matches = constant.findall(text)
        for name, served, unserved in matches:
            found[f"{place}::{name}"] = tuple(re.findall(r'"([^"]+)"', part) for part in (served, unserved))
        written = len(re.findall(r"(?<!struct )\bSchema \{", text))
        if written != len(matches):
            errors.append(f"{file.relative_to(ROOT)}: {written} schemas, of which {len(matches)} can be read here")
    return found, errors


def kinds():
    """The kinds of Istio and Kubernetes that mesh-istio sorts by name."""
    text = (ISTIO / "kinds/unserved.rs").read_text()
    return set(re.findall(r'"([A-Z]+[a-z][A-Za-z]*)"', text)) - {"List"}


def oracle():
    """Envoy's fields that the oracle generates, as `Message.field`."""
    found = set()
    for message, fields in re.findall(r'"envoy\.[\w.]*?v3\.([\w.]+)",\s*&\[(.*?)\],\s*\)', ORACLE.read_text(), re.S):
        found |= {f"{message}.{field}" for field in re.findall(r'\(\s*"(\w+)",\s*Generated\(', fields)}
    return found


# --- what this run did


def package_of(folder):
    return tomllib.loads((folder / "Cargo.toml").read_text())["package"]["name"]


def packages():
    members = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["members"]
    return {package_of(ROOT / member): ROOT / member for member in members}


def binary(source, program):
    """`package::target` of a test program. Cargo tells the source relative to the package, the rule beside it to the root."""
    rule = Path(f"{ROOT / program}.d").read_text().split("\n", 1)[0]
    for word in rule.split(": ", 1)[1].split():
        if word == source or word.endswith(f"/{source}"):
            folder = (ROOT / word).parents[len(Path(source).parts) - 1]
            path = Path(source)
            target = path.parent.name if path.name == "main.rs" and path.parts[0] == "tests" else path.stem
            return f"{package_of(folder)}::{target}"
    raise ValueError(f"{program}.d does not name {source}")


def executed(logs):
    """The tests that passed in this run, and the text of all logs."""
    running = re.compile(r"^\s+Running (?:unittests )?(\S+\.rs) \((\S+)\)$")
    passed, text = set(), ""
    for log in sorted(logs.glob("*.log")):
        program = None
        content = log.read_text(errors="replace")
        text += content
        for line in content.splitlines():
            if found := running.match(line):
                program = binary(*found.groups())
            elif re.match(r"^\s+Doc-tests ", line):
                program = None
            elif program and (found := re.search(r"\btest (\S+) \.\.\. ok$", line)):
                passed.add(f"{program}::{found[1]}")
    return passed, text


def written(test, folders):
    """Whether the sources have a test of this name: all that can be said without a run."""
    package, target, *path = test.split("::")
    if package not in folders or not path:
        return False
    files = [f for f in folders[package].rglob("*.rs") if target == "lib" or f"tests/{target}" in f.as_posix()]
    return any(re.search(rf"\bfn {path[-1]}\(", file.read_text()) for file in files)


class Run:
    """What is known of this run."""

    def __init__(self, logs):
        self.logs = logs if logs and all((logs / log).exists() for log in LOGS) else None
        self.folders = packages()
        self.oracle = oracle()
        self.passed, self.text, self.stages = set(), "", set()
        if self.logs:
            self.passed, self.text = executed(self.logs)
            self.stages = set((self.logs / "passed").read_text().split())

    def test(self, name):
        if self.logs is None:
            return None if written(name, self.folders) else "no such test in the sources"
        return None if name in self.passed else "this run did not execute it and see it pass"

    def peer(self, peer):
        """What is wrong with a peer of `[peers]`: one that could not be had, and said so, is no fault."""
        faults = [f"{test}: {fault}" for test in peer.get("tests", []) if (fault := self.test(test))]
        stage = peer.get("stage")
        if self.logs and stage and stage not in self.stages:
            faults.append(f"the stage {stage} has not passed in this run")
        return [] if self.absent(peer) else faults

    def absent(self, peer):
        """Whether this run said that the peer cannot be had here."""
        said = peer.get("absent")
        return said is not None and any(line.startswith(said) for line in self.text.splitlines())


# --- the checks


def names(row):
    return [name.strip() for name in row["fields"].split(",")]


def state(row):
    return [key for key in STATES if key in row]


def check_row(where, row, table, run):
    states = state(row)
    if len(states) != 1:
        return [f"{where}: one of {', '.join(STATES)} must be said, not {states}"]
    if states != ["works"]:
        return [] if row[states[0]] or "note" in row else [f"{where}: no reason"]
    errors = [f"{where}: {test}: {fault}" for test in row["works"] if (fault := run.test(test))]
    if not row["works"]:
        errors.append(f"{where}: works, and no test shows it")
    generated = [peer for peer in row.get("peer", []) if peer.startswith("oracle:")]
    for peer in generated:
        if peer.removeprefix("oracle:") not in run.oracle:
            errors.append(f"{where}: {peer}: the oracle does not generate it (oracle/src/fields.rs)")
        elif run.logs and "oracle" not in run.stages:
            errors.append(f"{where}: {peer}: the stage oracle has not passed in this run")
    errors += [
        f"{where}: no peer {peer} in [peers]"
        for peer in row.get("peer", [])
        if peer not in generated and peer not in table["peers"]
    ]
    if not (generated or row.get("compiled") or any(test.split("::")[0] in CALLS for test in row["works"])):
        errors.append(f"{where}: no test of it makes a call; say `compiled = true` if no call can show it")
    return errors


def check_fields(message, known):
    """Every field of a schema has one row, and the row says what the code does with it."""
    where = f"{message['kind']}: {message.get('at', '')} ({message['schema']})"
    if message["schema"] not in known:
        return [f"{where}: mesh-istio has no such schema"]
    served, unserved = known[message["schema"]]
    rows = [(name, state(row)) for row in message["rows"] for name in names(row)]
    listed = [name for name, _ in rows]
    errors = [f"{where}: {name} has no row" for name in served + unserved if name not in listed]
    errors += [f"{where}: {name} is no field" for name in listed if name not in served + unserved]
    errors += [f"{where}: {name} has {listed.count(name)} rows" for name in set(listed) if listed.count(name) > 1]
    for name, states in rows:
        if name in unserved and states != ["not_yet"]:
            errors.append(f"{where}: {name} is not read, so it is not_yet")
        if name in served and states == ["not_yet"]:
            errors.append(f"{where}: {name} is read: works, untested, read or refused")
    return errors


def check(table, run):
    known, errors = schemas()
    used = [message["schema"] for message in table["message"] if "schema" in message]
    errors += [f"{schema}: no [[message]] is about it; --missing writes one" for schema in known if schema not in used]
    told = {kind["name"] for kind in table["kind"]}
    errors += [f"{kind}: mesh-istio knows this kind, the table does not" for kind in sorted(kinds() - told)]
    for name, peer in table["peers"].items():
        errors += [f"peer {name}: {fault}" for fault in run.peer(peer)]
    for message in table["message"]:
        if message["kind"] not in told:
            errors.append(f"{message['kind']}: no [[kind]] of this name")
        if "schema" in message:
            errors += check_fields(message, known)
        for row in message["rows"]:
            where = f"{message['kind']}: {message.get('at', '')}: {row['fields']}"
            errors += check_row(where, row, table, run)
    return errors


# --- the tables


def code(text):
    return f"`{text}`"


def peers_of(row, table):
    listed = row.get("peer", [])
    fields = ", ".join(code(peer.removeprefix("oracle:")) for peer in listed if peer.startswith("oracle:"))
    found = [table["peers"][peer]["name"] for peer in listed if not peer.startswith("oracle:")]
    return "; ".join(([f"Envoy 1.40, oracle: {fields}"] if fields else []) + found) or "none"


def row_of(message, row, table):
    key = state(row)[0]
    prefix = f"{message['at']}." if message.get("at") else ""
    fields = ", ".join(code(f"{prefix}{name}") for name in names(row))
    works = key == "works"
    tests = "<br>".join(code(test) for test in row["works"]) if works else ""
    remark = row.get("note", "") if works else "; ".join(part for part in (row[key], row.get("note")) if part)
    if row.get("compiled"):
        remark = "; ".join(part for part in (remark, "decided where the configuration is compiled") if part)
    return f"| {fields} | {STATES[key]} | {remark} | {tests} | {peers_of(row, table) if works else ''} |"


def page(table):
    lines = [
        "# Istio's fields, one by one",
        "",
        "Written by `.ci/features.py` from `examples/interop/features.toml`: do not edit. *Works* means that a call behaves so;",
        "where it says *decided where the configuration is compiled*, that a client is told so. The tests that it names, as",
        "`package::program::test`, have passed in the same run of `.ci/run` that checked this page. *Compared with* names the peer",
        "that was given such a configuration; after *oracle* stand the fields of Envoy's messages that it generates. *Obeyed,",
        "not tested*: carried out, and no test of ours shows it. *Read, no effect yet*: checked, compiled to xDS, and not carried out",
        "by the data plane. *Not yet*: accepted and told as not supported, with file and line. *Refused*: it would secure a call, and",
        "plaintext in its place would be worse; or its API wants that a request fails rather than passes it by.",
    ]
    for kind in table["kind"]:
        lines += ["", f"## {kind['name']}", "", kind["about"]]
        messages = [message for message in table["message"] if message["kind"] == kind["name"]]
        if messages:
            lines += ["", "| field | | | test | compared with |", "| --- | --- | --- | --- | --- |"]
            lines += [row_of(message, row, table) for message in messages for row in message["rows"]]
    return "\n".join(lines) + "\n"


def summary(table):
    link = PAGE.relative_to(ROOT).as_posix()
    lines = ["| kind | " + " | ".join(STATES.values()) + " | |", "| --- |" + " --: |" * len(STATES) + " --- |"]
    for kind in table["kind"]:
        counts = dict.fromkeys(STATES, 0)
        for message in table["message"]:
            for row in message["rows"] if message["kind"] == kind["name"] else []:
                counts[state(row)[0]] += len(names(row))
        if sum(counts.values()):
            numbers = " | ".join(str(count) for count in counts.values())
            lines.append(f"| [{kind['name']}]({link}#{kind['name'].lower()}) | {numbers} | {kind['about']} |")
    read = {message["kind"] for message in table["message"]}
    whole = [kind["name"] for kind in table["kind"] if kind["name"] not in read]
    return "\n".join([*lines, "", f"Accepted as a whole and told as not supported: {', '.join(whole)}."])


def documents(table):
    """The two files as they have to stand."""
    readme = README.read_text()
    head, _, rest = readme.partition(MARKS[0])
    _, end, tail = rest.partition(MARKS[1])
    if not end:
        raise SystemExit(f"features: README.md has no {MARKS[0]} with {MARKS[1]} after it")
    return {PAGE: page(table), README: f"{head}{MARKS[0]}\n{summary(table)}\n{MARKS[1]}{tail}"}


def stale(table):
    return [
        f"{file.relative_to(ROOT)} is not what features.toml says; python3 .ci/features.py --write"
        for file, text in documents(table).items()
        if not file.exists() or file.read_text() != text
    ]


# --- the control


def lies(table):
    """Tables with one lie each."""
    works = [(m, r) for m, message in enumerate(table["message"]) for r, row in enumerate(message["rows"]) if row.get("works")]
    m, r = works[0]

    def lie(change):
        other = copy.deepcopy(table)
        change(other["message"][m]["rows"], other)
        return other

    yield "a test that does not exist", lie(lambda rows, _: rows[r]["works"].append("mesh-tower::calls::one_call::nothing"))
    yield "an Envoy field that the oracle leaves out", lie(
        lambda rows, _: rows[r].update(peer=["oracle:RouteAction.retry_policy"])
    )
    yield "a field without a row", lie(lambda rows, _: rows.pop(r))
    yield "a field that Istio does not have", lie(lambda rows, _: rows[r].update(fields=rows[r]["fields"] + ", hostz"))
    yield "works without a test", lie(lambda rows, _: rows[r].update(works=[]))
    yield "a kind that is left out", lie(lambda _, other: other["kind"].pop())


def control(table, run):
    missed = [what for what, other in lies(table) if not set(check(other, run)) - set(check(table, run))]
    other = copy.deepcopy(table)
    other["kind"][0]["about"] += " And more."
    if not stale(other):
        missed.append("a table that says something else than the file")
    return [f"control: {what} was not found" for what in missed]


def missing(table):
    used = {message.get("schema"): message for message in table["message"]}
    for schema, (served, unserved) in schemas()[0].items():
        message = used.get(schema)
        listed = [name for row in message["rows"] for name in names(row)] if message else []
        rows = [f'  {{ fields = "{name}", works = [], peer = [] }},' for name in served if name not in listed]
        rows += [f'  {{ fields = "{name}", not_yet = "" }},' for name in unserved if name not in listed]
        if rows:
            print("\n".join([f'[[message]]\nkind = ""\nat = ""\nschema = "{schema}"\nrows = [', *rows, "]\n"]))


def main(arguments):
    table = tomllib.loads(ROWS.read_text())
    if "--missing" in arguments:
        return missing(table)
    if "--write" in arguments:
        for file, text in documents(table).items():
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        return None
    logs = Path(arguments[arguments.index("--logs") + 1]) if "--logs" in arguments else None
    run = Run(logs)
    if run.logs is None and "--full" in arguments:
        raise SystemExit(f"features: {logs} does not have all of {', '.join(LOGS)}")
    if "--control" in arguments:
        errors = control(table, run)
    else:
        errors = check(table, run) + stale(table)
    if errors:
        raise SystemExit("\n".join(f"features: {error}" for error in errors))
    fields = sum(len(names(row)) for message in table["message"] for row in message["rows"])
    tests = {test for message in table["message"] for row in message["rows"] for test in row.get("works", [])}
    if "--control" in arguments:
        print("features: every lie was found")
    elif run.logs:
        print(f"features: {fields} fields; the {len(tests)} tests that they name have passed in this run")
        for peer in table["peers"].values():
            if run.absent(peer):
                print(f"features: {peer['name']}: NOT RUN, so nothing was compared with it")
    else:
        print(f"features: {fields} fields; whether their {len(tests)} tests pass: NOT RUN (it needs {', '.join(LOGS)})")
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
