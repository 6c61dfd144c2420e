"""The rankers that are a formula.

Sources: Reddit's hot and controversial (2.5 log10 and 45,000 s, that is a
factor of ten every 12.5 h), Community Notes' bound for bridging. Where those
count keys, these add up trust, so that a thousand fresh keys weigh nothing.
"""

# what an act is worth beside a like; published, and the same in every ranker
WORTH = {"likes": 1.0, "emoji": 0.5, "replies": 1.5, "reposts": 2.0, "quotes": 2.0, "zaps": 3.0}
HARM = {"dislikes": 1.0, "reports": 5.0}


def weigh(g, suffix, worth):
    """Sum over actions, each times its worth: of trust, or of keys where there is no suffix."""
    total = None
    for action, weight in worth.items():
        part = g.feature(f"count.{action}_{suffix}" if suffix else f"count.{action}") * weight
        total = part if total is None else total + part
    return total


def support(g):
    """Trust that stands behind a note: the sum, times the mean of who acts, times the author's standing.

    A sum alone is a matter of numbers: keys that follow one another gain a
    little trust each, and a thousand littles are much.
    """
    total = weigh(g, "trust", WORTH)
    keys = weigh(g, None, WORTH)
    author = g.feature("author.trust")
    return (total - weigh(g, "trust", HARM)) * total / (keys + 1e-6) * (author / (author + 0.2))


def near(g):
    """The viewer's trust in the author, and in those they follow who acted on it times the mean worth of what those did."""
    good = bad = acts = None
    for action, weight in (WORTH | {k: -v for k, v in HARM.items()}).items():
        n = g.feature(f"proof.{action}")
        acts = n if acts is None else acts + n
        good = n * weight if good is None else good + n * weight
    return g.feature("pair.trust") + g.feature("proof.trust") * good / g.op("Max", acts, 1.0)


def heat(g, s, hours):
    """sign(s) log10(1 + 10 |s|) - age / hours: ten times the trust is worth so many hours."""
    size = g.log1p(g.op("Abs", s) * 10.0) / 2.302585093
    return g.op("Sign", s) * size - g.feature("note.age_hours") / hours


def latest(g):
    return -g.feature("note.age_hours")


def one_per_author(g):
    return -g.feature("note.age_hours") - 1000.0 * g.op("Min", g.feature("author.newer_notes"), 1.0)


def hot(g):
    return heat(g, support(g), g.knob("hours"))


def top_24h(g):
    """By trust alone; what is older than 24 h stands below all that is not."""
    age = g.feature("note.age_hours")
    s = support(g)
    old = g.op("Min", g.op("Max", (age - 24.0) * 3600.0, 0.0), 1.0)
    return s - 1e-4 * age - 1e4 * old


def rising(g):
    """How much faster trusted keys come now than over the day."""
    trusted = g.feature("rate.trust_1h") * 0.6 + g.feature("rate.trust_6h") * 0.4
    keys = g.feature("rate.keys_1h") * 0.6 + g.feature("rate.keys_6h") * 0.4
    author = g.feature("author.trust")
    now = trusted * trusted / (keys + 1e-6) * (author / (author + 0.2))
    return g.log1p(now * 20.0) - 0.5 * g.log1p(g.feature("rate.trust_24h") * 20.0) - g.feature("note.age_hours") / 48.0


def controversial(g):
    """(pos + neg) ^ (min / max), as Reddit has it, of trust."""
    pos, neg = weigh(g, "trust", WORTH), weigh(g, "trust", HARM)
    both = pos + neg
    balance = g.op("Min", pos, neg) / (g.op("Max", pos, neg) + 1e-6)
    trusted = both / (weigh(g, None, WORTH | HARM) + 1e-6)
    author = g.feature("author.trust")
    return g.log1p(10.0 * both * trusted * (author / (author + 0.2))) * balance - 1e-4 * g.feature("note.age_hours")


def wot_hot(g):
    """The author, and acts of those the viewer follows: what strangers do, however many, moves nothing."""
    return heat(g, near(g), g.knob("hours"))


def foryou_cf(g):
    """What the stage found, whose notes co-likers like, and a little heat for what neither knows."""
    return g.log1p(g.feature("stage.colike") * 100.0) + 2.0 * g.feature("pair.interest") + heat(g, support(g), 24.0)


def bridging(g):
    """Lower bound of the intercept: liked by those who otherwise disagree."""
    return g.feature("stage.bridge_lower") - g.feature("note.age_hours") / (24.0 * g.knob("days"))


def catch_up(g):
    """The best of those you follow since you were last here, unseen first."""
    s = near(g)
    tie = g.feature("pair.trust") + g.feature("pair.recency") + g.feature("pair.follows")
    missed = g.feature("note.since_last_seen") - g.feature("proof.seen") - g.feature("proof.acted")
    return g.log1p(10.0 * g.op("Max", s, 0.0)) + tie + 10.0 * missed - 1e-3 * g.feature("note.age_hours")


def quiet(g):
    """People who post seldom, first; a day of age weighs like a doubling of their rate."""
    seldom = -(g.log1p(g.feature("author.notes_per_day") * 10.0)) / 0.693147
    return seldom + 8.0 * g.feature("pair.follows") + g.feature("pair.trust") - g.feature("note.age_hours") / g.knob("hours")


def discover(g):
    """Out of the network, near it: liked by those near you, on what you like, not spread by copies."""
    known = 2.0 * g.feature("pair.follows") + g.feature("proof.acted")
    taste = g.log1p(g.feature("stage.colike") * 100.0) + g.feature("pair.interest")
    copies = g.log1p(g.feature("duplicate.notes"))
    return (g.log1p(10.0 * g.op("Max", near(g), 0.0)) + 0.5 * g.log1p(10.0 * g.op("Max", support(g), 0.0)) + taste + g.feature("pair.common_share")
            + g.knob("novelty") * g.feature("stage.novelty") - known - copies - g.feature("note.age_hours") / 24.0)


FORMULAS = {
    "latest": latest, "one-per-author": one_per_author, "hot": hot, "top-24h": top_24h, "rising": rising,
    "controversial": controversial, "wot-hot": wot_hot, "foryou-cf": foryou_cf, "bridging": bridging,
    "catch-up": catch_up, "quiet": quiet, "discover": discover,
}
