// Package trial replays what happened and judges rankers by it: at moments of
// the later part it asks what a reader did next, shows every ranker the same
// notes as they stood at that moment, and compares.
//
// No fact is later than the moment: the replay has not read further. Facts that
// no replay knows (spam and person signals, profiles, near-duplicates, bridging)
// are zero for all rankers alike, and stages that reorder a page (author-decay,
// dpp) are not applied: what is judged is the model.
package trial
