// Watches the relay for new notes and has the columns look whether their pages
// would be others now. A busy relay is looked at every few seconds, not for
// each note.
import type { Column } from './column.svelte'
import { socket } from './people.svelte'

const soon = 400 // ms after a note, so that it has been counted
const again = 3000 // ms, for rankers that take their time
const calm = 5000 // ms between two looks of a busy relay

export class Live {
  any = $state(false) // a note has come since the page was opened
  #columns: Column[]
  #last = 0
  #timers: ReturnType<typeof setTimeout>[] = []

  constructor(columns: Column[]) {
    this.#columns = columns
  }

  run(): () => void {
    const stop = socket.follow({ kinds: [1, 6, 20, 1068, 1111, 30023], limit: 0 }, () => this.#heard())
    return () => {
      stop()
      this.#timers.forEach(clearTimeout)
    }
  }

  #heard(): void {
    this.any = true
    this.#timers.forEach(clearTimeout)
    const wait = Math.max(soon, this.#last + calm - Date.now())
    this.#timers = [wait, wait + again].map(ms => setTimeout(() => this.#look(), ms))
  }

  #look(): void {
    this.#last = Date.now()
    for (const column of this.#columns) void column.look()
  }
}
