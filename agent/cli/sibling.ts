/**
 * `mesh control-plane`, `mesh relay` and `mesh bench`: the sibling program in this terminal, with our signals and its
 * exit code.
 */
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import type { ProgramName } from '../../shared/program-options.ts'
import type { CommandContext } from './command.ts'
import { commandOf } from './programs.ts'

/** Runs until the program ends. @returns its exit code */
export const runSibling = (context: CommandContext, program: ProgramName): Promise<number> =>
  new Promise((resolve, reject) => {
    const [file, ...args] = commandOf(program)
    const child = spawn(file, [...args, ...context.rawArguments], { stdio: ['inherit', 'inherit', 'inherit', 'ipc'] })
    const stop = (): void => void child.kill('SIGTERM')
    context.signal.addEventListener('abort', stop, { once: true })
    child.on('error', reject)
    child.on('exit', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])))
  })
