/** Entry of the compute process: loads the shard, then serves commands until the agent closes the pipe. */
import { problemOf } from '../../../shared/errors.ts'
import type { BackendOptions, Buffers } from '../backend.ts'
import { execute, operations, readCommand } from '../host/command.ts'
import { openMapping } from './mapped-memory.ts'
import { kinds, MessageReader, writeMessage } from './process-protocol.ts'
import { GgmlRunner } from './runner.ts'
import { selfTest } from './self-test.ts'

const text = (content: string): Uint8Array => Buffer.from(content)

/** Options as they travel: JSON, maps as lists. */
export const encodeOptions = (options: BackendOptions): Uint8Array => text(JSON.stringify({ ...options, shard: { ...options.shard, tensors: [...options.shard.tensors] } }))

const decodeOptions = (body: Buffer): BackendOptions => {
  const options = JSON.parse(body.toString('utf8')) as BackendOptions & { shard: { tensors: Iterable<never> } }
  return { ...options, shard: { ...options.shard, tensors: new Map(options.shard.tensors) } }
}

/** What a wrong pointer would do. */
const crash = (): never => {
  process.kill(process.pid, 'SIGSEGV')
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
}

const serve = async (reader: MessageReader, runner: GgmlRunner): Promise<void> => {
  let buffers: Buffers = { hidden: new Float32Array(0), partial: new Float32Array(0), logits: new Float32Array(0) }
  for (let message = reader.read(); message !== undefined; message = reader.read()) {
    const { kind, body } = message
    try {
      if (kind === kinds.memory) {
        const { path, bytes, rows } = JSON.parse(body.toString('utf8')) as { path: string; bytes: number; rows: number }
        buffers = runner.useMemory(rows, openMapping(path, bytes).memory)
      } else {
        const command = readCommand(new Int32Array(new Uint8Array(body).buffer))
        if (command.operation === operations.crash) crash()
        await execute(runner, command, buffers)
        if (command.operation === operations.close) return writeMessage(kinds.done)
      }
      writeMessage(kinds.done)
    } catch (error) {
      writeMessage(kinds.failed, text(problemOf(error)))
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
    const runner = GgmlRunner.load(options, (fraction) => writeMessage(kinds.progress, text(String(fraction))))
    writeMessage(kinds.ready, text(runner.description))
    reader.spinMs = options.spinMs ?? 0
    await serve(reader, runner)
  } catch (error) {
    writeMessage(kinds.failed, text(problemOf(error)))
  }
}

if (process.argv[1] === import.meta.filename) await main()
