"""Reads the corpora and says which rows belong together."""

import csv
import io
import json
import subprocess
from pathlib import Path

csv.field_size_limit(1 << 30)


def read(path):
    """The text of a .zst file."""
    return subprocess.run(["zstd", "-dc", str(path)], check=True, capture_output=True).stdout.decode("utf-8")


def rows(folder):
    """All labelled texts: dicts of text, source, group (campaign), spam, scam, ai (1, 0 or None for unlabelled)."""
    folder, out = Path(folder), []

    def add(text, source, spam=None, scam=None, ai=None, group=None):
        if text:
            out.append(dict(text=text, source=source, spam=spam, scam=scam, ai=ai, group=group, weight=1.0))

    for r in csv.DictReader(io.StringIO(read(folder / "nostr-notes.csv.zst"))):
        add(r["text"], "nostr", int(r["label"] == "spam"), group="nostr:" + r["campaign"])
    for line in read(folder / "x-posts.jsonl.zst").splitlines():
        r = json.loads(line)
        labels = set(r["labels"])
        bad = bool(labels & {"scam", "phishing"})
        add(r["text"], "x", 1 if labels & {"scam", "phishing", "spam", "promo"} else 0, int(bad))
    for line in read(folder / "sms.tsv.zst").splitlines():
        label, _, text = line.partition("\t")
        add(text, "sms", int(label == "spam"))
    for r in csv.DictReader(io.StringIO(read(folder / "youtube.csv.zst"))):
        add(r["CONTENT"], "youtube", int(r["CLASS"]), group="youtube:" + r["VIDEO_NAME"])
    for label, name in ((1, "telegram-spam"), (0, "telegram-ham")):
        for line in read(folder / (name + ".txt.zst")).splitlines():
            add(line.strip(), "telegram", label)
    for i, line in enumerate(read(folder / "ai-replies.jsonl.zst").splitlines()):
        for t in json.loads(line)["tweets"]:
            if t["role"] == "ai_reply":
                add(t["text"], "replies", ai=1, group=f"replies:{i}")
            else:
                add(t["text"], "replies", ai=0, group=f"replies:{i}")
    for i, line in enumerate(read(folder / "essays-human-vs-ai.jsonl.zst").splitlines()):
        r = json.loads(line)
        add(r["text"], "essays", ai=int(r["label"] != "human"), group="essays:" + r["file"])
    feedback = folder / "feedback.jsonl"  # agora spam feedback; not there unless the operator made it
    if feedback.exists():
        said = {}
        for line in feedback.read_text("utf-8").splitlines():
            r = json.loads(line)
            text, word = said.get(r["id"], (r["text"], 0.0))
            said[r["id"]] = (text, word + r["weight"] * (1 if r["label"] == "spam" else -1))
        for id, (text, word) in said.items():
            if word:  # what cancels out, or was said only by those whose word does not count, teaches nothing
                add(text, "feedback", int(word > 0), group="feedback:" + id)
                out[-1]["weight"] = min(1.0, abs(word))
    return out
