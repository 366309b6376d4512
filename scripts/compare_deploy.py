"""Whether the Helm chart, as it comes, is what Kustomize renders: `compare_deploy.py KUSTOMIZED CHARTED`.

But for what each of them does so that a changed configuration rolls the pods.
"""

import json
import re
import sys
from pathlib import Path

import yaml


def objects(path):
    text = re.sub(r"fmnist-stream-[a-z0-9]{10}\b", "fmnist-stream", Path(path).read_text())
    found = {thing["kind"]: thing for thing in yaml.safe_load_all(text) if thing}
    data = found["ConfigMap"]["data"]
    data["config.json"] = json.loads(data["config.json"])
    found["StatefulSet"]["spec"]["template"]["metadata"]["annotations"].pop("checksum/config", None)
    return found


kustomized, charted = map(objects, sys.argv[1:])
different = [kind for kind in {*kustomized, *charted} if kustomized.get(kind) != charted.get(kind)]
for kind in different:
    for name, thing in ("kustomize", kustomized.get(kind)), ("helm", charted.get(kind)):
        print(f"{kind} of {name}:", yaml.dump(thing), sep="\n")
sys.exit(bool(different))
