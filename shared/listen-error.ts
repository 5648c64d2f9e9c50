/** What a failed attempt to listen means to people: libraries report it in many lines, with stacks inside the message. */
import { MeshError, problemOf } from './errors.ts'

/** `listen EADDRINUSE: address already in use 127.0.0.1:4001` */
const systemError = /\b(E[A-Z]+): ([a-z ]+?)(?: [\w.:[\]]*:(\d+))?(?:\n|$)/

/**
 * @param listen where the program wanted to listen
 * @returns MeshError `portInUse` (names the port) | `usage` (names the address)
 */
export const listenError = (error: unknown, listen: readonly string[]): MeshError => {
  const [, code, problem, port] = systemError.exec(problemOf(error)) ?? []
  if (code === 'EADDRINUSE') return new MeshError('portInUse', { port: port ?? listen.join(', ') }, error)
  return new MeshError('usage', { problem: `cannot listen on ${listen.join(', ')}: ${problem ?? problemOf(error).split('\n')[0]}` }, error)
}
