/**
 * Hand-over between the network thread and a compute thread: one command at a time through shared memory, tens of
 * microseconds a round trip. The compute thread sleeps in `Atomics.wait`; the other side never blocks.
 *
 * Words (i32): 0 commands given, 1 commands done, 2 result (0 fine, 1 failed), 3 bytes of the error text, then the
 * command (`command.ts`), then the text.
 */
import { type Command, commandWords, readCommand, writeCommand } from './command.ts'

const firstWord = 4
const errorBytes = 4096

export class Mailbox {
  readonly memory: SharedArrayBuffer
  readonly #words: Int32Array
  readonly #command: Int32Array
  readonly #error: Uint8Array

  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer((firstWord + commandWords) * 4 + errorBytes)) {
    this.memory = memory
    this.#words = new Int32Array(memory, 0, firstWord)
    this.#command = new Int32Array(memory, firstWord * 4, commandWords)
    this.#error = new Uint8Array(memory, (firstWord + commandWords) * 4)
  }

  /** Gives a command; resolves when it is done. @throws Error with the text of the failure */
  async call(command: Command): Promise<void> {
    const words = this.#words
    writeCommand(this.#command, command)
    const done = Atomics.load(words, 1)
    Atomics.add(words, 0, 1)
    Atomics.notify(words, 0)
    // A notification may come late: the other side counted up, we saw it and went on, and only then it notifies us of
    // what we know already. So the count decides, not the waking.
    while (Atomics.load(words, 1) === done) {
      const waiting = Atomics.waitAsync(words, 1, done)
      if (waiting.async) await waiting.value
    }
    if (words[2] !== 0) throw new Error(Buffer.from(this.#error.slice(0, words[3])).toString('utf8'))
  }

  /**
   * Blocks until there is a command.
   * @param seen commands taken before
   * @param spinMs how long to look before it sleeps
   */
  take(seen: number, spinMs = 0): Command {
    if (spinMs > 0)
      for (
        const until = performance.now() + spinMs;
        Atomics.load(this.#words, 0) === seen && performance.now() < until;
      );
    while (Atomics.load(this.#words, 0) === seen) Atomics.wait(this.#words, 0, seen)
    return readCommand(this.#command)
  }

  /** Reports the end of a command. */
  finish(failure?: string): void {
    const words = this.#words
    words[2] = failure === undefined ? 0 : 1
    if (failure !== undefined) {
      const text = new Uint8Array(errorBytes) // `encodeInto` refuses shared memory
      words[3] = new TextEncoder().encodeInto(failure, text).written
      this.#error.set(text)
    }
    Atomics.add(words, 1, 1)
    Atomics.notify(words, 1)
  }
}
