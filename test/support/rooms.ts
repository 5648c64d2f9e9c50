/** Folders of the code as rooms, and loops between them. */

/** Folders within a room that are a room of their own, wherever they stand. */
const innerRooms = ['sockets']

/**
 * `agent/engine/forward.ts` is in `agent/engine`; what puts the rooms of a part together (`agent/main.ts`) in none.
 * @param file relative to the root, with `/`
 */
export const roomOf = (file: string): string | undefined => {
  const [part, room, inner, deeper] = file.split('/')
  if (room === undefined) return undefined
  if (!['agent', 'control-plane', 'shared'].includes(part)) return part
  if (inner === undefined) return part === 'shared' ? part : undefined
  return deeper !== undefined && innerRooms.includes(inner) ? `${part}/${room}/${inner}` : `${part}/${room}`
}

/** Groups of nodes that reach each other: in a graph without loops there are none. */
export const loopsIn = (graph: ReadonlyMap<string, ReadonlyMap<string, unknown>>): string[][] => {
  const reachable = (from: string): Set<string> => {
    const found = new Set<string>()
    const left = [from]
    for (let node = left.pop(); node !== undefined; node = left.pop())
      for (const next of graph.get(node)?.keys() ?? []) {
        if (!found.has(next)) left.push(next)
        found.add(next)
      }
    return found
  }
  const reached = new Map([...graph.keys()].map((node) => [node, reachable(node)]))
  const loops = [...graph.keys()].map((node) =>
    [...graph.keys()].filter((other) => reached.get(node)?.has(other) && reached.get(other)?.has(node)).toSorted(),
  )
  return [...new Map(loops.filter((loop) => loop.length > 0).map((loop) => [loop.join(' '), loop])).values()]
}
