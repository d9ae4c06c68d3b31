"""Prints what python-dotenv makes of many small files, one JSON object a line; the first line names its version.

pip install python-dotenv==1.2.4; python3 expected.py > expected.jsonl
"""

import json
import os
import tempfile
from importlib.metadata import version

os.environ.clear()
os.environ["FROM_ENV"] = "environment"

from dotenv.main import DotEnv  # noqa: E402

# Values of one line, each put after several beginnings and before several ends.
VALUES = [
    "", "plain", "two words", "  padded  ", "Default Organization", "Eval Bot <bot@example.org>", '["http://a", "http://b"]',
    '{"a": 1}', "C:\\data", "$(date +%F)", "`id`", "pa$sword", "$HOME", "${UNSET}", "${FROM_ENV}", "${FROM_ENV:-default}",
    "${UNSET:-default}", "${UNSET:-}", "${UNSET:-a b}", "${UNSET:-${FROM_ENV}}", "${UNSET:default}", "${UNSET-default}", "${",
    "${}", "${:-x}", "$${FROM_ENV}", "\\${FROM_ENV}", "a${FROM_ENV}b${UNSET}c", "${FROM_ENV", "${A:-b:-c}", "${${FROM_ENV}}",
    "a#b", "a #b", "a\t# b", "#", "# comment", " # comment", "a # b # c", "a'b", 'a"b', "it's", "'single'", '"double"',
    "'don't'", '"a"b"', "'a' b", '"a" # comment', "'a'# comment", "'a # b'", '"a # b"', "'a", '"a', "a'", 'a"', "''", '""',
    r"'a\'b'", r'"a\"b"', r"'a\\'", r'"a\\"', r'"a\\\"b"', r'"\n\t\r\a\b\f\v"', r"'\n\t'", r"a\nb", r'"\x41\u0041\101"', r'"\$x"',
    r"'\"'", '"${FROM_ENV}"', "'${FROM_ENV}'", '"${UNSET:-"x"}"', "a=b", "=", "==", "a;b", "a&b", "a|b", "\u00e4\u00f6", "\U0001f600",
    "a\u00a0#b", "\u3000a", "a\x0bb", "a\x1cb", "a\x85b", "\ufeffa", "\\", "\\\\", "'\\", '"\\', "postgresql://u:pa$sword@host/db?a=b#c",
    "-----BEGIN PRIVATE KEY-----", "  #  ", "\t", "a\\ #b", "a \\#b", "true", "00", "'a''b'", "'a'\"b\"", "%F0%9F", "a,b",
]
KEYS = ["A", "export A", "export  A", "'A'", "A ", "export\tA", "a.b-c", "1X", "exportA", "export", "\u00c4", "A:"]
LINES = [
    "export FOO", "FOO", "api-key=5", "1X=2", "=x", "= x", "#x", " # x", "A", "A B=1", "export A B", "'A", "'A=1", "'A'B=1", "''=1",
    '"A"=1', "A+=1", "A==1", "A= =1", "export=1", "export =1", "export = 1", "export 'A'=1", "export #A=1", "- A=1", "A: 1", "[s]", "...",
    "if [ -f x ]; then", "A=1;B=2", "A=1 B=2", "A=(1 2)", "A\x00=1", "A=1\x00", "A=\ufffd", "\u2028A=1", "A\u2028=1", "A=1\u2028B=2",
]
FILES = [
    "", "\n", "\n\n\n", "A=1", "A=1\n", "A=1\r\n", "A=1\r", "\ufeffA=1\n", "\ufeff\ufeffA=1\n", " \ufeffA=1\n", "A=1\nB=2\n", "A=1\r\nB=2\r\n",
    "A=1\rB=2\r", "A=1\n\n\nB=2", "A=1\nA=2\n", "A=1\nA\n", "A\nA=1\n", "A=1\nA=\n", "A=\nB=1\n", "A= \nB=1\n", "A=#x\nB=1\n", "A=\t#x\nB=1\n",
    "A=${B}\nB=1\n", "B=1\nA=${B}\n", "B=1\nA=${B}\nB=2\n", "A=1\nA=${A}2\n", "FROM_ENV=file\nA=${FROM_ENV}\n", "B\nA=${B:-x}\n",
    "B=\nA=${B:-x}\n", 'A="two\nlines"\nB=1\n', "A='two\nlines'\nB=1\n", 'A="two\r\nlines"\r\nB=1\r\n', 'A="open\nB=1\n', "A='open\nB=1\n",
    'A="open\nB=1\nC="x"\n', 'A="open\nB=1\nC=x"\nD=1\n', "A='don't'\nB=1\n", "'A\n'=1\nB=2\n", "A\n=1\nB=2\n", "A=\n=1\nB=2\n",
    "KEY=-----BEGIN\nabc\n-----END\nB=1\n", 'KEY="-----BEGIN\nabc=\n-----END"\nB=1\n', "A=1 # c\nB=2#c\nC='3'#c\nD=\"4\" #c\n",
    "A=1  #'\nB=2\n", "A='x' y\nB=1\n", "A='x\ny' z\nB=1\n", "A=1\\\nB=2\n", "A=\"1\\\n2\"\nB=2\n", "export A=1\nexport B\n", "  A=1\n\tB=2\n",
    "LOG_LEVEL=INFO\nORG=Default Organization\nDATABASE_URL=postgresql://u:pa$sword@host/db\n", "A=1\x0cB=2\n", "\x0cA=1\n", "A=1\nB", "A=1\nB=",
    "NOTE=\"for production only\nOPENAI_API_KEY=sk-made-up-1\nDATABASE_URL=postgresql://u:made-up-2@h/db\n", "A=1\n#B=2", "#\n#\n", "A=1\n \n\t\nB=2",
    "A=\"\n\"\nB=1", "A='\\'\nB=1\nC='", 'A="\\"\nB=1\nC="', "A=\"x\"\n\"B\"=1\nC=1\n", "A='1'B=2\nC=3\n", "A=1\n\x00\nB=2\n",
]

# `'a` and the like are put before an end that closes them, and one that does not.
cases = [f"{key}={value}\nB=1\n" for value in VALUES for key in KEYS[:2]]
cases += [f"A = {value}\nB='1'\nC=1" for value in VALUES]
cases += [f"{key}=1 # c\r\nB=2" for key in KEYS] + [f"{line}\nLOG_LEVEL=INFO\n" for line in LINES] + FILES

package = "python-dotenv==" + version("python-dotenv")
print(json.dumps({"package": package, "environment": dict(os.environ)}))
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, ".env")
    for text in dict.fromkeys(cases):
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        # As load_dotenv does it: the environment comes before the file.
        print(json.dumps({"text": text, "values": DotEnv(path, encoding="utf-8", override=False).dict()}))
