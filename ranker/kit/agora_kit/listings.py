"""What stands in the listing of each ranker, but for the digest of its file."""


def knob(name, low, high, default, unit, about):
    return {"name": name, "min": low, "max": high, "default": default, "unit": unit, "about": about}


HOURS = knob("hours", 1, 168, 12.5, "hours", "by how much older a note with ten times the support may be")
AUTHORS = "author-decay decay=0.5 floor=0.25"

# slug: name, about, stages, knobs, fallback, personalised
LISTINGS = [
    ("latest", "Latest", "Newest first, nothing else.", [], [], "", False),
    ("one-per-author", "One per author", "The newest note of each author, newest first.", ["author-cap most=1"], [], "latest", False),
    ("hot", "Hot", "Support by trusted keys against age: ten times the support is worth 12.5 hours.", [AUTHORS], [HOURS], "latest", False),
    ("top-24h", "Top of 24 hours", "The most support by trusted keys within a day.", ["from-global", "from-recent", "max-age hours=24"], [], "hot", False),
    ("rising", "Rising", "Support that comes faster now than over the day.", ["from-global", "from-recent", "max-age hours=48"], [], "hot", False),
    ("controversial", "Controversial", "Much support and as much disagreement.", ["from-global", "from-recent", "max-age hours=168"], [], "hot", False),
    ("wot-hot", "Hot near you", "Hot, by the trust of the reader: strangers' crowds weigh nothing.", [AUTHORS], [HOURS], "hot", True),
    ("foryou-cf", "Liked by your like", "What is liked by those who like what you like.", ["from-colikers", "from-follows", "from-global", "from-recent", "colike half_life=72 popularity=0.5", AUTHORS], [], "wot-hot", True),
    ("foryou-gbdt", "For you", "How likely you are to like, answer, repost, zap or reject a note, by boosted trees.",
     ["from-follows", "from-trusted", "from-colikers", "from-global", "from-recent", "colike half_life=72 popularity=0.5", AUTHORS], [], "wot-hot", True),
    ("foryou-tower", "For you, by what you read", "The same by a small transformer over what you acted on last; each note is judged by itself.",
     ["from-follows", "from-trusted", "from-colikers", "from-global", "from-recent", "colike half_life=72 popularity=0.5", AUTHORS], [], "foryou-gbdt", True),
    ("bridging", "Bridging", "Notes that people like who otherwise disagree.", ["bridge", "from-global", "from-recent", AUTHORS],
     [knob("days", 1, 90, 20, "days", "age at which a note has lost one point of the scale")], "hot", False),
    ("catch-up", "Catch up", "The best of the people you follow since you were last here, two of each.", ["from-follows", "from-trusted", "author-cap most=2"], [], "wot-hot", True),
    ("quiet", "Quiet voices", "People you follow who post seldom.", ["from-follows", "author-cap most=2"],
     [knob("hours", 1, 168, 24, "hours", "of age that weigh like a doubling of the rate of posting")], "latest", True),
    ("discover", "Discover", "People you do not follow yet, near your taste, with variety and a place for somebody new.",
     ["from-trusted", "from-colikers", "from-global", "from-recent", "from-new-authors", "out-of-network", "colike half_life=72 popularity=0.5", "novelty", "new-author-slot at=15", "dpp theta=0.65 first=150"],
     [knob("novelty", 0, 4, 0.1, "points", "weight of what is unlike what you liked last")], "hot", True),
]


def listing(slug, name, about, stages, knobs, fallback, personalised):
    return {"slug": slug, "name": name, "about": about, "stages": stages, "knobs": knobs, "fallback": fallback,
            "personalised": personalised, "licence": "MIT", "file": slug + ".onnx"}
