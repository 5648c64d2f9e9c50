/** Services without a terminal: started here, in a process that outlives this one and logs to a file. */
import { spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { MeshError } from '../../shared/errors.ts'
import { makeFolder } from '../../shared/make-folder.ts'
import type { ErrorReportJson } from '../../shared/schema/common.ts'
import type { Home } from '../../shared/home.ts'
import type { CommandContext } from './command.ts'
import { howItEnded } from './managed-process.ts'
import { lastWords } from './process-output.ts'
import { commandOf } from './programs.ts'
import { findService, type ServiceRecord, serviceText } from './service-record.ts'
import { poll } from './session.ts'

/** What the process tells the command that waits for it. */
export type BackgroundMessage =
  | { readonly type: 'said'; readonly text: string }
  | { readonly type: 'failed'; readonly report: ErrorReportJson }
  | { readonly type: 'ready'; readonly info: object }

/** Bytes of text that processes left outside their logs: crashes, mostly. */
const crashBytes = 2 ** 20
/** Milliseconds that a service which somebody else has just started may need. */
const otherMs = 60_000

/** What a process writes beside its log goes here: it is what is left of a crash. */
const openCrashFile = (home: Home): { readonly handle: number; readonly file: string; readonly start: number } => {
  const file = join(home.logs, 'crash.log')
  makeFolder(home.logs, 0o700)
  if ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) > crashBytes) renameSync(file, `${file}.1`)
  const handle = openSync(file, 'a', 0o600)
  return { handle, file, start: statSync(file).size }
}

/**
 * Starts a command of `mesh` in the background and waits until it is ready. What it says until then is said here.
 * @returns its ready line; @throws MeshError as the command does | `processEnded` when it ended without a reason
 */
const startInBackground = async (context: CommandContext, args: readonly string[]): Promise<object> => {
  const { home, signal, stderr } = context
  const crash = openCrashFile(home)
  const [file, ...rest] = commandOf('background')
  const child = spawn(file, [...rest, ...args], {
    detached: true,
    windowsHide: true,
    stdio: ['ignore', crash.handle, crash.handle, 'ipc'],
  })
  closeSync(crash.handle)
  const stop = (): void => void child.kill('SIGTERM')
  signal.addEventListener('abort', stop, { once: true })
  const ended = (how: string): MeshError => {
    const left = readFileSync(crash.file)
      .subarray(crash.start)
      .toString('utf8')
      .split('\n')
      .filter((line) => line.trim() !== '')
    return new MeshError('processEnded', { name: `mesh ${args[0]}`, how, problem: lastWords(left) })
  }
  try {
    return await new Promise<object>((resolve, reject) => {
      child.on('message', (message: BackgroundMessage) => {
        if (message.type === 'ready') resolve(message.info)
        else if (message.type === 'failed') reject(MeshError.fromReport(message.report))
        else stderr.write(message.text)
      })
      child.on('error', (error) => reject(ended(error.message)))
      child.on('close', (code, how) => reject(signal.aborted ? signal.reason : ended(howItEnded(code, how).how)))
    })
  } finally {
    signal.removeEventListener('abort', stop)
    if (child.connected) child.disconnect()
    child.unref()
  }
}

interface Background<Info extends object> {
  readonly command: ServiceRecord['command']
  readonly args: readonly string[]
  /** Prints its ready line. */
  show(info: Info): void
}

/** It runs already: what it said when it was ready. */
const infoOf = async (context: CommandContext, { pid }: ServiceRecord): Promise<object | undefined> => {
  const found = await poll(
    async () => {
      const now = findService(context.home)
      return now?.pid !== pid ? { info: undefined } : now.info && { info: now.info }
    },
    { waitMs: otherMs, everyMs: 100, context },
  )
  return found?.info
}

/**
 * `-d`: runs the service in the background, unless it runs already; then it says so, which is no failure.
 * @throws MeshError `agentAlreadyRunning` (another service of this home) | `processEnded` | as the command does
 */
export const detach = async <Info extends object>(
  context: CommandContext,
  { command, args, show }: Background<Info>,
): Promise<void> => {
  const other = findService(context.home)
  if (other !== undefined) {
    // the agent is a part of mesh up
    if (other.command !== command && command === 'up')
      throw new MeshError('agentAlreadyRunning', { home: context.home.root, pid: other.pid })
    context.stderr.write(`runs already: ${serviceText(other)}\n`)
    const info = await infoOf(context, other)
    if (info !== undefined && other.command === command) show(info as Info)
    return
  }
  show((await startInBackground(context, args)) as Info)
}
