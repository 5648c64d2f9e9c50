/**
 * What a failed attempt to listen means to people: libraries report it in many lines, with stacks inside the message.
 */
import { MeshError, problemOf } from './errors.ts'
import { portHolder } from './port-holder.ts'

/** `listen EADDRINUSE: address already in use 127.0.0.1:4001` */
const systemError = /\b(E[A-Z]+): ([a-z ]+?)(?: [\w.:[\]]*:(\d+))?(?:\n|$)/

/**
 * @param listen where the program wanted to listen
 * @returns MeshError `portInUse` (names the port, and in its hint who holds it where the system tells) | `usage` (names
 * the address)
 */
export const listenError = (error: unknown, listen: readonly string[]): MeshError => {
  const [, code, problem, port] = systemError.exec(problemOf(error)) ?? []
  if (code === 'EADDRINUSE') {
    const holder = port === undefined ? undefined : portHolder(Number(port))
    return new MeshError(
      'portInUse',
      { port: port ?? listen.join(', '), ...(holder === undefined ? {} : { holder: `what holds it: ${holder}` }) },
      error,
    )
  }
  return new MeshError(
    'usage',
    { problem: `cannot listen on ${listen.join(', ')}: ${problem ?? problemOf(error).split('\n')[0]}` },
    error,
  )
}
