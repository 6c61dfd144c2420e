// Links inside the page are real addresses: they can be copied and opened in
// another tab, and a plain click goes there without loading anything again.
import { route, type Place } from './route.svelte'

export function follow(event: MouseEvent, change: Partial<Place>): void {
  if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
  event.preventDefault()
  route.go(change)
}
