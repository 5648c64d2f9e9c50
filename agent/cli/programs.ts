/** Entry files of Mesh; siblings are started as processes and never imported. */
import { fileURLToPath } from 'node:url'
import { nodeFlags } from '../../shared/node-flags.ts'

export const programs = {
  mesh: fileURLToPath(new URL('../main.ts', import.meta.url)),
  /** `mesh`, for what runs without a terminal. */
  background: fileURLToPath(new URL('../background/main.ts', import.meta.url)),
  controlPlane: fileURLToPath(new URL('../../control-plane/main.ts', import.meta.url)),
  relay: fileURLToPath(new URL('../../relay-server/main.ts', import.meta.url)),
  bench: fileURLToPath(new URL('../../bench/main.ts', import.meta.url)),
} as const

export type ProgramName = keyof typeof programs

/** What starts a program, before its arguments. */
export const commandOf = (program: ProgramName): readonly [file: string, ...args: string[]] => [
  process.execPath,
  ...nodeFlags,
  programs[program],
]
