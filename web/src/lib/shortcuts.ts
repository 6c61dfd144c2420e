// Keys for reading without a mouse. They do nothing while somebody types or a
// dialog is open.

export function shortcuts(actions: Record<string, () => void>): (event: KeyboardEvent) => void {
  return event => {
    const target = event.target instanceof HTMLElement ? event.target : null
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return
    if (target?.closest('input:not([type="range"]), textarea, select, [contenteditable]')) return
    const action = actions[event.key] ?? onNotes[event.key]
    if (!action) return
    event.preventDefault()
    action()
  }
}

const notes = (): HTMLElement[] => [...document.querySelectorAll<HTMLElement>('#notes [data-note]')]

/** The note that has the focus, or that holds what has it. */
const current = (): HTMLElement | null => document.activeElement?.closest<HTMLElement>('#notes [data-note]') ?? null

function move(by: number): void {
  const list = notes()
  const here = current()
  const at = here ? list.indexOf(here) + by : 0
  const next = list[Math.min(list.length - 1, Math.max(0, at))]
  next?.focus({ preventScroll: true })
  next?.scrollIntoView({ block: 'nearest' })
}

const press = (selector: string) => current()?.querySelector<HTMLElement>(selector)?.click()

const onNotes: Record<string, () => void> = {
  j: () => move(1),
  k: () => move(-1),
  o: () => (current()?.matches('a') ? current()?.click() : press('footer a')),
  w: () => press('.why'),
}
