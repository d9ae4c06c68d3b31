"""Runs the examples of docs/chroma-server.md against another server: examples.py FOLDER URL. FOLDER has the npm package."""

import pathlib
import re
import subprocess
import sys

folder, url = sys.argv[1:]
host, port = re.fullmatch(r"http://(.*):(\d+)", url).groups()
text = pathlib.Path("docs/chroma-server.md").read_text()
for language, code in re.findall(r"```(python|javascript|sh)[,a-z-]*\n(.*?)```", text, re.DOTALL):
    code = code.replace("port=8000", f"port={port}").replace("port: 8000", f"port: {port}").replace("localhost", host).replace(":8000", f":{port}")
    program = {"python": [sys.executable, "-c"], "javascript": ["node", "--input-type=module", "-e"], "sh": ["bash", "-euc"]}[language]
    if not any(word in code for word in ("upsert", "add_texts", "store.add")):
        continue
    done = subprocess.run([*program, code], cwd=folder, capture_output=True, text=True)
    output = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>", done.stdout)
    error = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    print(f"{language}: {done.returncode} {error} {output}")
