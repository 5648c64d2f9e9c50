/**
 * Where a prompt comes from: the command line, a file or standard input, and only one of them.
 *
 * Files and standard input must be text in UTF-8. A byte-order mark at their start and one line end at their end are
 * left out; all else is taken as it is, line ends of Windows included.
 */
import { isUtf8 } from 'node:buffer'
import { createReadStream } from 'node:fs'
import { addAbortSignal, type Readable } from 'node:stream'
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises'
import { MeshError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import type { CommandContext, Input } from './command.ts'
import { givenFileError } from './given-file.ts'

/** Stands for standard input, as the argument and as the file. */
const standardInput = '-'

/** No character takes more in UTF-8. */
const mostBytes = 4 * limits.promptLength

/** Milliseconds in which what a program wrote to our standard input before we started has arrived. */
const arrivalMs = 20

const lineFeed = 0x0a

/** Number of the first line for which `isWrong` holds; lines are counted from 1. */
const lineOf = (bytes: Buffer, isWrong: (line: Buffer) => boolean): number => {
  for (let number = 1, start = 0; ; number++) {
    const end = bytes.indexOf(lineFeed, start)
    if (end < 0 || isWrong(bytes.subarray(start, end))) return number
    start = end + 1
  }
}

/** @throws MeshError `promptUnreadable` for what is no text */
export const decodePrompt = (bytes: Buffer, source: string): string => {
  if (!isUtf8(bytes))
    throw new MeshError('promptUnreadable', {
      source,
      problem: `line ${lineOf(bytes, (line) => !isUtf8(line))} is not text in UTF-8`,
    })
  if (bytes.includes(0))
    throw new MeshError('promptUnreadable', {
      source,
      problem: `line ${lineOf(bytes, (line) => line.includes(0))} holds a NUL: this is no text`,
    })
  return new TextDecoder().decode(bytes).replace(/\r?\n$/, '')
}

/**
 * @throws MeshError `promptUnreadable` | `promptTooLarge` | of `givenFileError`; AbortError when the command is
 * interrupted
 */
const readText = async (stream: Readable, source: string, signal: AbortSignal): Promise<string> => {
  const parts: Buffer[] = []
  let length = 0
  try {
    for await (const part of addAbortSignal(signal, stream) as AsyncIterable<Buffer>) {
      parts.push(part)
      length += part.length
      if (length > mostBytes) throw new MeshError('promptTooLarge', { limit: limits.promptLength.toLocaleString('en') })
    }
  } catch (error) {
    signal.throwIfAborted()
    throw error instanceof MeshError ? error : givenFileError(error, source, '--prompt-file')
  }
  return decodePrompt(Buffer.concat(parts), source)
}

/**
 * Whether somebody gave us text there. A pipe may stay open for ever with nobody writing (a remote shell, a
 * scheduler): it is not waited for.
 */
const hasText = async ({ stream, mayIdle }: Input): Promise<boolean> => {
  const first = new Promise<boolean>((resolve) => {
    stream
      .once('readable', () => resolve(stream.read() !== null))
      .once('end', () => resolve(false))
      .once('error', () => resolve(false))
  })
  // the turn after the pause has looked at the pipe, also when this process did not get to run for long
  const late = pause(arrivalMs, false).then(() => nextTurn(false))
  return mayIdle ? Promise.race([first, late]) : first
}

/**
 * The text of a prompt.
 * @throws MeshError `usage` (none given, or two) | `promptTwice` | `promptUnreadable` | `promptTooLarge` |
 * `fileMissing` | `fileUnreadable`
 */
export const readPrompt = async (
  { stdin, stderr, signal }: CommandContext,
  { prompt, promptFile }: { readonly prompt?: string; readonly promptFile?: string },
): Promise<string> => {
  if (prompt !== undefined && promptFile !== undefined)
    throw new MeshError('usage', { problem: 'give either a prompt or --prompt-file, not both' })
  const named = prompt ?? promptFile
  if (named === undefined && stdin.isTTY) {
    throw new MeshError('usage', {
      problem: 'no prompt is given: mesh inference "Once upon a time", --prompt-file FILE, or text on standard input',
    })
  }
  if (named === undefined || named === standardInput) {
    if (stdin.isTTY) stderr.write('the prompt, please; Ctrl-D on a line of its own ends it\n')
    return readText(stdin.stream, 'standard input', signal)
  }
  const source = promptFile === undefined ? 'the command line' : `--prompt-file ${promptFile}`
  if (!stdin.isTTY && (await hasText(stdin))) throw new MeshError('promptTwice', { source })
  if (promptFile !== undefined) return readText(createReadStream(promptFile), promptFile, signal)
  // Node puts this character where bytes of an argument are not UTF-8
  if (named.includes('\ufffd')) throw new MeshError('promptUnreadable', { source, problem: 'it is not text in UTF-8' })
  return named
}
