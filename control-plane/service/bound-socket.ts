/** The WebSocket of an agent, with bounds on what it brings at once and on what waits for its reader. */
import type { WebSocket } from 'ws'
import { limits } from '../../shared/limits.ts'
import type { AgentSocket } from './presence.ts'

/** Bytes that wait for a reader: two of the largest prompts of a member; a stranger is told little. */
const unreadBytes = { member: 2 * limits.requestBytes, stranger: 1024 * 1024 } as const
/** Milliseconds that the other end may take to close its side; a machine that is gone never does. */
const closeMs = 1000

/** The socket of an agent. Nothing is known of its device yet: it may be anybody's. */
export const boundSocket = (socket: WebSocket): AgentSocket => {
  let whose: keyof typeof unreadBytes = 'stranger'
  return {
    send: (message) => {
      if (socket.readyState !== socket.OPEN) return
      if (socket.bufferedAmount > unreadBytes[whose]) socket.terminate() // it reads too slowly, or not at all
      else socket.send(JSON.stringify(message))
    },
    allow: (as) => {
      whose = as
      // `ws` takes the most that it collects of a message once for all sockets; each has it in a field that is not
      // public
      const receiver: unknown = Reflect.get(socket, '_receiver')
      if (typeof receiver === 'object' && receiver !== null)
        Reflect.set(receiver, '_maxPayload', as === 'member' ? limits.requestBytes : limits.helloBytes)
    },
    close: (reason) => {
      socket.close(1000, reason)
      setTimeout(() => socket.terminate(), closeMs).unref()
    },
  }
}
