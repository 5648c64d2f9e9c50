/** Words that are no command of ours: those of other programs, parts of names, and names that are almost right. */
import { MeshError } from '../../shared/errors.ts'
import type { Command } from './command.ts'

/** What people type who know other programs, and the commands (or flags) of ours that do it, the likeliest first. */
export const otherWords: Readonly<Record<string, readonly string[]>> = {
  ...wordsFor(['inference'], 'run chat generate complete completion completions prompt ask infer query'),
  ...wordsFor(['model-pull', 'join-ring'], 'pull download'),
  ...wordsFor(['join-ring'], 'load deploy'),
  ...wordsFor(['model-add', 'join-ring'], 'add import'),
  ...wordsFor(['up', 'join-ring'], 'serve server host daemon launch'),
  ...wordsFor(['leave-ring', 'model-remove', 'ring-remove'], 'rm unload delete'),
  ...wordsFor(['model-list', 'ring-status'], 'list ls models model'),
  ...wordsFor(['status', 'ring-status'], 'ps top show info doctor config'),
  ...wordsFor(['pool-peers'], 'peers nodes members devices workers'),
  ...wordsFor(['pool-status'], 'jobs history queue'),
  ...wordsFor(['down'], 'stop kill quit exit shutdown'),
  ...wordsFor(['down', 'start'], 'restart'),
  ...wordsFor(['join'], 'connect attach'),
  ...wordsFor(['init'], 'login register signup setup auth'),
  ...wordsFor(['api-key-list'], 'keys tokens'),
  ...wordsFor(['credits'], 'balance usage stats'),
  ...wordsFor(['resource-status'], 'memory resources'),
  ...wordsFor(['bench'], 'benchmark'),
  ...wordsFor(['--version'], 'version'),
}

function wordsFor(commands: readonly string[], words: string): Record<string, readonly string[]> {
  return Object.fromEntries(words.split(' ').map((word) => [word, commands]))
}

/** Names of which the word is the first or the last part: `pool` of `pool-list`, `approve` of `pool-approve`. */
const namesWith = (commands: readonly Command[], word: string): string[] =>
  commands.map(({ name }) => name).filter((name) => name.startsWith(`${word}-`) || name.endsWith(`-${word}`))

/** More than these are told by their names alone. */
const mostExplained = 2

/**
 * The failure for a word that is no command, with what may be meant.
 * @param similar names that differ by a letter or two
 */
export const unknownCommand = (commands: readonly Command[], word: string, similar: readonly string[]): MeshError => {
  const known = [
    ...new Set([...(Object.hasOwn(otherWords, word) ? otherWords[word] : []), ...namesWith(commands, word)]),
  ]
  const meant = known.length > 0 ? known : similar
  if (meant.length === 0) return new MeshError('commandUnknown', { word, meant: '' })
  const explained = meant.map((name) => {
    const summary = commands.find((command) => command.name === name)?.summary
    return `mesh ${name}${summary === undefined ? '' : ` (${summary})`}`
  })
  const [next] = meant
  return new MeshError('commandUnknown', {
    word,
    meant:
      meant.length > mostExplained
        ? `; there are ${meant.map((name) => `mesh ${name}`).join(', ')}`
        : `; did you mean ${explained.join(' or ')}?`,
    next: next.startsWith('-') ? `mesh ${next}` : `mesh ${next} --help`,
  })
}
