/** Entry of the compute process: loads the shard, then serves commands until the agent closes the pipe. */
import { problemOf } from '../../../shared/errors.ts'
import { useVectors } from '../../collective/vectors.ts'
import type { BackendOptions, Buffers } from '../../engine/backend.ts'
import { execute, operations, readCommand } from '../command.ts'
import { linkRequests } from '../../links/link-requests.ts'
import { openMapping } from './mapped-memory.ts'
import { endLinks, serveLinked } from './process-links.ts'
import { decodeRequest, kinds, type Message, MessageReader, writeMessage } from './process-protocol.ts'
import { GgmlRunner } from '../../engine/ggml/runner.ts'
import { selfTest } from '../../engine/ggml/self-test.ts'
import { nativeVectors } from '../../engine/ggml/vectors.ts'

const text = (content: string): Uint8Array => Buffer.from(content)

/** Options as they travel: JSON, maps as lists. */
export const encodeOptions = (options: BackendOptions): Uint8Array =>
  text(JSON.stringify({ ...options, shard: { ...options.shard, tensors: [...options.shard.tensors] } }))

const decodeOptions = (body: Buffer): BackendOptions => {
  const options = JSON.parse(body.toString('utf8')) as BackendOptions & { shard: { tensors: Iterable<never> } }
  return { ...options, shard: { ...options.shard, tensors: new Map(options.shard.tensors) } }
}

/** What a wrong pointer would do. */
const crash = (): never => {
  process.kill(process.pid, 'SIGSEGV')
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
}

/** What came over a pipe, and where it goes. */
class ComputeServer {
  readonly #runner: GgmlRunner
  readonly #options: BackendOptions
  #buffers: Buffers = { hidden: new Float32Array(0), partial: new Float32Array(0), logits: new Float32Array(0) }

  constructor(runner: GgmlRunner, options: BackendOptions) {
    this.#runner = runner
    this.#options = options
  }

  /** Until the agent is gone or says so. */
  async serve(reader: MessageReader): Promise<void> {
    for (let message = reader.read(); message !== undefined; message = reader.read()) {
      const shallEnd = message.kind === kinds.request ? await this.#requested(message.body) : await this.#obey(message)
      if (shallEnd) return
    }
  }

  #requested(body: Buffer): Promise<boolean> | boolean {
    const { request } = decodeRequest(body)
    if (request === linkRequests.listen)
      return serveLinked(
        {
          runner: this.#runner,
          options: this.#options,
          buffers: () => this.#buffers,
          obey: (message) => this.#obey(message),
        },
        body,
      )
    // a process that was started again, or left its links
    if (request === linkRequests.leave) writeMessage(kinds.result)
    else writeMessage(kinds.failed, text('no links are open'))
    return false
  }

  /** @returns true when the process shall end */
  async #obey({ kind, body }: Message): Promise<boolean> {
    try {
      if (kind === kinds.memory) {
        const { path, bytes, rows } = JSON.parse(body.toString('utf8')) as { path: string; bytes: number; rows: number }
        this.#buffers = this.#runner.useMemory(rows, openMapping(path, bytes).memory)
        writeMessage(kinds.done)
        return false
      }
      const command = readCommand(new Int32Array(new Uint8Array(body).buffer))
      if (command.operation === operations.crash) crash()
      await execute(this.#runner, command, this.#buffers)
      writeMessage(kinds.done)
      return command.operation === operations.close
    } catch (error) {
      writeMessage(kinds.failed, text(problemOf(error)))
      return false
    }
  }
}

const main = async (): Promise<void> => {
  const reader = new MessageReader()
  const first = reader.read()
  if (first === undefined) return
  try {
    const options = decodeOptions(first.body)
    selfTest(options.threads)
    useVectors(nativeVectors())
    const runner = GgmlRunner.load(options, (fraction) => writeMessage(kinds.progress, text(String(fraction))))
    writeMessage(kinds.ready, text(runner.description))
    reader.spinMs = options.spinMs ?? 0
    await new ComputeServer(runner, options).serve(reader)
    endLinks()
  } catch (error) {
    writeMessage(kinds.failed, text(problemOf(error)))
  }
}

if (process.argv[1] === import.meta.filename) await main()
