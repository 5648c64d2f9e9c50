/** One rank of a benchmark as a child process: started, asked, stopped. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { nodeFlags } from '../shared/node-flags.ts'

/** Time for a rank to close its links and end its compute process. */
const stopMs = 10_000

/** The next message of that type from a rank. @throws Error when the rank fails or ends */
export const answerOf = <T>(child: ChildProcess, type: string): Promise<T> =>
  new Promise((resolve, reject) => {
    const onMessage = (message: { type: string; problem?: string }): void => {
      if (message.type === 'failed') settle(() => reject(new Error(message.problem)))
      else if (message.type === type) settle(() => resolve(message as T))
    }
    const onExit = (code: number | null): void => settle(() => reject(new Error(`a rank ended (code ${code})`)))
    const settle = (action: () => void): void => {
      child.off('message', onMessage)
      child.off('exit', onExit)
      action()
    }
    child.on('message', onMessage)
    child.on('exit', onExit)
  })

export const stopRank = async (child: ChildProcess): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  // it may be ending by itself; then nobody reads
  if (child.connected) child.send({ type: 'stop' }, () => {})
  const timer = setTimeout(() => child.kill('SIGKILL'), stopMs)
  await ended
  clearTimeout(timer)
}

/** @param program its module, which takes `settings` as its first message */
export const forkRank = (program: string, settings: object): ChildProcess => {
  const child = fork(program, {
    execArgv: ['--disable-warning=ExperimentalWarning', ...nodeFlags],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  child.send(settings)
  return child
}
