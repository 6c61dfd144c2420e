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


def friends(g):
    """The viewer's trust in those they follow who acted on it, times the mean worth of what those did."""
    good = acts = None
    for action, weight in (WORTH | {k: -v for k, v in HARM.items()}).items():
        n = g.feature(f"proof.{action}")
        acts = n if acts is None else acts + n
        good = n * weight if good is None else good + n * weight
    return g.feature("proof.trust") * good / g.op("Max", acts, 1.0)


def tens(g, s):
    """sign(s) log10(1 + 10 |s|)."""
    return g.op("Sign", s) * g.log1p(g.op("Abs", s) * 10.0) / 2.302585093


def heat(g, s, hours):
    """ten times the support is worth so many hours of age."""
    return tens(g, s) - g.feature("note.age_hours") / hours


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
    """Trust in the author, and acts of those the viewer follows: what strangers do, however many, moves nothing."""
    return 2.0 * g.feature("pair.trust") + 2.0 * g.feature("pair.follows") + heat(g, friends(g), g.knob("hours"))


def foryou_cf(g):
    """What the stage found and whose notes co-likers like; for what neither knows, ties and heat."""
    taste = g.log1p(g.feature("stage.colike") * 10.0) + 4.0 * g.feature("pair.interest") + 2.0 * g.feature("pair.recency")
    return taste + g.feature("pair.trust") + g.feature("pair.follows") + heat(g, g.op("Max", support(g), 0.0), 12.5)


def bridging(g):
    """Lower bound of the intercept: liked by those who otherwise disagree."""
    return g.feature("stage.bridge_lower") - g.feature("note.age_hours") / (24.0 * g.knob("days"))


def catch_up(g):
    """The best of those you follow since you were last here, unseen first."""
    s = g.feature("pair.trust") + friends(g)
    tie = g.feature("pair.trust") + g.feature("pair.recency") + g.feature("pair.follows")
    missed = g.feature("note.since_last_seen") - g.feature("proof.seen") - g.feature("proof.acted")
    return 0.5 * g.log1p(10.0 * s) + tie + 10.0 * missed - g.feature("note.age_hours") / 24.0


def quiet(g):
    """People who post seldom, first; a day of age weighs like a doubling of their rate."""
    seldom = -(g.log1p(g.feature("author.notes_per_day") * 10.0)) / 0.693147
    return seldom + 8.0 * g.feature("pair.follows") + g.feature("pair.trust") - g.feature("note.age_hours") / g.knob("hours")


def discover(g):
    """What people like you and people you follow act on, written by keys you do not follow, and what is new to you."""
    known = 2.0 * g.feature("pair.follows") + g.feature("proof.acted") + g.log1p(g.feature("duplicate.notes"))
    near = 0.5 * g.feature("pair.recency") + 0.5 * tens(g, g.op("Max", friends(g), 0.0)) + 2.0 * g.log1p(g.feature("stage.colike") * 10.0)
    return near + heat(g, g.op("Max", support(g), 0.0), 12.5) + g.knob("novelty") * g.feature("stage.novelty") - known


FORMULAS = {
    "latest": latest, "one-per-author": one_per_author, "hot": hot, "top-24h": top_24h, "rising": rising,
    "controversial": controversial, "wot-hot": wot_hot, "foryou-cf": foryou_cf, "bridging": bridging,
    "catch-up": catch_up, "quiet": quiet, "discover": discover,
}
