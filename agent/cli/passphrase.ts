/**
 * Where secrets come from: a file, a terminal without echo, or the first line of standard input. Not the command line,
 * which others can list.
 */
import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { MeshError } from '../../shared/errors.ts'
import type { CommandContext } from './command.ts'
import { readGivenFile } from './given-file.ts'

const firstLine = (text: string): string => text.split(/\r?\n/, 1)[0]

/** The first line of a file, as it is. @throws MeshError those of `readGivenFile` */
export const secretIn = (file: string, flag: `--${string}`): string => firstLine(readGivenFile(file, flag))

const ask = (context: Pick<CommandContext, 'stderr'>, question: string): Promise<string> =>
  new Promise((resolve, reject) => {
    context.stderr.write(question)
    const isTerminal = process.stdin.isTTY === true
    const silent = new Writable({ write: (_chunk, _encoding, done) => done() })
    const reader = createInterface({ input: process.stdin, output: silent, terminal: isTerminal })
    let answer: string | undefined
    reader.once('line', (line) => {
      answer = line
      reader.close()
    })
    reader.once('SIGINT', () => reader.close())
    reader.once('close', () => {
      context.stderr.write('\n')
      if (answer === undefined)
        reject(new MeshError('usage', { problem: `nothing was given for the question "${question.trim()}"` }))
      else resolve(answer)
    })
  })

/** @throws MeshError `usage` (none given, or two that differ) | those of `readGivenFile` */
export const readPassphrase = async (
  context: CommandContext,
  file: string | undefined,
  { twice }: { readonly twice: boolean },
): Promise<string> => {
  if (file !== undefined) return secretIn(file, '--passphrase-file')
  const passphrase = await ask(context, 'passphrase: ')
  if (twice && process.stdin.isTTY && (await ask(context, 'once more: ')) !== passphrase)
    throw new MeshError('usage', { problem: 'the two passphrases differ' })
  return passphrase
}

/** The invite of an option: the line itself, or - for standard input. @throws MeshError `usage` */
export const inviteLine = async (context: Pick<CommandContext, 'stderr'>, text: string): Promise<string> =>
  text === '-' ? ask(context, 'invite: ') : text
