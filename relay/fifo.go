package relay

import (
	"sync"

	"agora/relay/wire"
)

// job is one message of a client that is owed an answer in its turn. Exactly
// one of frame, id and m says what it is.
type job struct {
	frame []byte // an answer that is ready
	sub   *sub   // REQ
	m     wire.Message
	id    string // EVENT: the id to answer for

	s       *session
	reply   Reply
	pending bool // EVENT: no reply yet; guarded by fifo.mu
	here    bool // EVENT: the reader examines it itself and will look; guarded by fifo.mu
}

// done takes the reply to an EVENT. It does not block: the committer calls it.
func (j *job) done(reply Reply, err error) {
	if err != nil {
		reply = j.s.r.failed("publish", j.id, err)
	}
	if j.s.fifo.settle(j, reply) {
		j.s.pokeAnswerer()
	}
}

// inFlight is how many messages of one connection may wait for their answer;
// beyond it, the socket is not read.
const inFlight = 64

// fifo holds a connection's unanswered messages in their order.
type fifo struct {
	mu     sync.Mutex // guards what follows
	room   sync.Cond  // something was taken out, or the end has come
	jobs   []*job     // at most inFlight; when full: the reader waits
	ending bool       // nothing more comes in
	busy   bool       // the answerer writes what it has taken out
	closed bool
}

func (f *fifo) init() { f.room.L = &f.mu }

// awaitRoom waits until another job may come in; false: it never will.
func (f *fifo) awaitRoom() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.jobs) >= inFlight && !f.closed {
		f.room.Wait()
	}
	return !f.closed
}

// push puts a job at the end. Alone means that nothing else is owed.
func (f *fifo) push(j *job) (alone bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.jobs = append(f.jobs, j)
	return len(f.jobs) == 1 && !f.busy
}

// settle makes a pending job ready; true when the answerer has to be told.
func (f *fifo) settle(j *job, reply Reply) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	j.reply, j.pending = reply, false
	return len(f.jobs) > 0 && f.jobs[0] == j && !j.here
}

// examineHere lets the reader examine a job itself.
func (f *fifo) examineHere(j *job) {
	f.mu.Lock()
	j.here = true
	f.mu.Unlock()
}

// examined says that the reader is done with a job. Mine means that the reply
// is there and nothing else is owed: the job is taken out for the reader to
// answer. Tell means that the answerer has to.
func (f *fifo) examined(j *job) (mine, tell bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	j.here = false
	if j.pending {
		return false, false
	}
	if len(f.jobs) != 1 {
		return false, true
	}
	f.jobs[0] = nil
	f.jobs = f.jobs[:0]
	return true, false
}

// rest says that the answerer has written what it took.
func (f *fifo) rest() {
	f.mu.Lock()
	f.busy = false
	f.mu.Unlock()
}

// take moves all that can be answered now to into, in order: up to the first
// pending EVENT.
func (f *fifo) take(into []*job) []*job {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for n < len(f.jobs) && !f.jobs[n].pending {
		n++
	}
	into = append(into, f.jobs[:n]...)
	rest := copy(f.jobs, f.jobs[n:])
	clear(f.jobs[rest:])
	f.jobs = f.jobs[:rest]
	f.busy = n > 0
	if n > 0 {
		f.room.Signal()
	}
	return into
}

// close lets nobody wait any more.
func (f *fifo) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.room.Broadcast()
}

// finish says that nothing more comes in.
func (f *fifo) finish() {
	f.mu.Lock()
	f.ending = true
	f.mu.Unlock()
}

// finished reports whether nothing more comes in and nothing is owed.
func (f *fifo) finished() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ending && len(f.jobs) == 0
}
