/** Asks before what others know of this device becomes something else. */
import { createInterface } from 'node:readline'
import { MeshError } from '../../shared/errors.ts'
import { shortId } from '../../shared/ids.ts'
import type { DeviceConfig } from '../device/device.ts'
import type { CommandContext } from './command.ts'

/** One line from a terminal; `undefined` when it ends without one. */
const answerTo = async (
  { stdin, stderr, signal }: Pick<CommandContext, 'stdin' | 'stderr' | 'signal'>,
  question: string,
): Promise<string | undefined> => {
  stderr.write(question)
  const reader = createInterface({ input: stdin.stream, signal })
  try {
    for await (const line of reader) return line
    signal.throwIfAborted()
    return undefined
  } finally {
    reader.close()
  }
}

/** Whether the person at the terminal says yes; without a terminal nobody does. */
export const isConfirmed = async (
  context: Pick<CommandContext, 'stdin' | 'stderr' | 'signal'>,
  question: string,
): Promise<boolean> => {
  if (!context.stdin.isTTY || !context.stderr.isTTY) return false
  return /^\s*y(?:es)?\s*$/i.test((await answerTo(context, `${question} [y/N] `)) ?? '')
}

/** What would become different, in words. */
const changesOf = (before: DeviceConfig, wanted: Partial<DeviceConfig>): string[] => [
  ...(wanted.name === undefined || wanted.name === before.name ? [] : [`its name would become "${wanted.name}"`]),
  ...(wanted.controlPlaneUrl === undefined || wanted.controlPlaneUrl === before.controlPlaneUrl
    ? []
    : [`its control plane would become ${wanted.controlPlaneUrl} (now ${before.controlPlaneUrl})`]),
  ...(wanted.controlPlaneKey === undefined ||
  before.controlPlaneKey === undefined ||
  wanted.controlPlaneKey === before.controlPlaneKey
    ? []
    : [
        `it would know its control plane by the key ${shortId(wanted.controlPlaneKey)} (now ` +
          `${shortId(before.controlPlaneKey)})`,
      ]),
]

/**
 * Lets a change of name or control plane through when nothing changes, when it was told to (`--yes`), or when the
 * person at the terminal says so. Nothing may have been written before.
 * @throws MeshError `deviceSetUp`
 */
export const confirmChange = async (
  context: Pick<CommandContext, 'stdin' | 'stderr' | 'signal'>,
  before: DeviceConfig,
  wanted: Partial<DeviceConfig>,
  yes: boolean,
): Promise<void> => {
  const changes = changesOf(before, wanted).join(', ')
  if (changes === '' || yes) return
  if (await isConfirmed(context, `this device is set up as "${before.name}": ${changes}. Change it?`)) return
  throw new MeshError('deviceSetUp', { name: before.name, changes })
}
