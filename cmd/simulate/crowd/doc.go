// Package crowd makes up what people do on a real follow graph: a seeded crowd
// with interests, friends, habits, spammers and a ring of voters. It exists so
// that rankers can be compared where too few real reactions are at hand; every
// number that comes from it is to be called simulated.
//
// # What is real and what is not
//
// The keys, who follows whom and who mutes whom are real, and so are the words:
// each note is put together from two real notes of one topic. Who reads, writes,
// likes and dislikes is made up.
//
// # People
//
// A person has interests over topics, drawn around those of the people they
// follow or are followed by (homophily); a leaning between -1 and 1; favourites
// among the authors they follow, or, without a follow list, among authors of
// their topics; and habits: how often they look, how readily they answer, repost
// and pay. An author has a rate and a talent. A note has the author's topic, a
// quality around the talent, and sometimes takes a side.
//
// # Sessions
//
// People come at their hours, look through notes of those they follow, notes
// their follows acted on, popular notes and new ones, in a mix, and act by
// chance. How likely they act is the Family's business: Interest goes by topic
// and favourites, Habit by favour returned, by what others do and by freshness,
// and tires. Habit is never used in training.
//
// # Frozen
//
// Digest names this package by its sources. It is fixed before anything is
// trained on it and stands in the model card.
package crowd
