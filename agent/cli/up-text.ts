/** What `mesh up` says when all of it runs. */
import { ownCommand } from '../../shared/options.ts'
import type { UpReady } from '../../shared/schema/ready.ts'
import type { CommandContext } from './command.ts'
import { bold, counted, validity } from './render.ts'

const joinText = (
  context: CommandContext,
  { pool, lines: [join, ask], usesLeft, notAfter }: UpReady['join'][number],
): string => {
  const terms = `${counted(usesLeft, 'device')}, valid for ${validity(notAfter, context.now())}`
  return [
    `\n${bold(context, `To join the pool ${pool}, another device runs`)} (${terms})\n  ${join}\n`,
    `${bold(context, 'and asks, as this one can')}\n  ${ask}\n`,
  ].join('')
}

/** @param background nothing holds the terminal */
export const upText = (
  context: CommandContext,
  { hosts, url, serving, notes, join }: UpReady,
  background: boolean,
): string => {
  const mesh = ownCommand()
  const [host = '127.0.0.1', ...further] = hosts
  const where = `${host} (control plane on port ${new URL(url).port})`
  return [
    `control plane, relay and agent run at ${where}; ${background ? `${mesh} down` : 'Ctrl-C'} ends them\n`,
    hosts.length === 0
      ? 'this machine has no address that others can reach: connect it to a network, then run mesh up again\n'
      : '',
    further.length > 0 ? `further addresses of this machine: ${further.join(', ')}\n` : '',
    serving.length === 0
      ? `this device serves no model: ${mesh} join-ring --model-id tiny-story\n`
      : `this device serves ${serving.join(', ')}\n`,
    ...notes.map((note) => `note: ${note}\n`),
    ...join.map((one) => joinText(context, one)),
    `\nlogs: ${mesh} logs\n`,
  ].join('')
}
