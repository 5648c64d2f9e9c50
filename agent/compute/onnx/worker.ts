/** Entry of the compute thread: loads the shard, then serves commands from the mailbox until told to close. */
import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { problemOf } from '../../../shared/errors.ts'
import type { BackendOptions, Buffers } from '../../engine/backend.ts'
import { execute, operations } from '../command.ts'
import { Mailbox } from '../mailbox.ts'
import { OnnxRunner } from '../../engine/onnx/runner.ts'

export interface WorkerInput {
  readonly options: BackendOptions
  readonly mailbox: SharedArrayBuffer
  /** Carries `Buffers` before each `buffers` command, and `WorkerReport` back. */
  readonly port: MessagePort
}

export type WorkerReport = { readonly progress: number } | { readonly ready: true } | { readonly failed: string }

const serve = async ({ options, mailbox: memory, port }: WorkerInput): Promise<void> => {
  const mailbox = new Mailbox(memory)
  const report = (message: WorkerReport): void => port.postMessage(message)
  const runner = OnnxRunner.load(options, (progress) => report({ progress }))
  report({ ready: true })
  let buffers: Buffers = { hidden: new Float32Array(0), partial: new Float32Array(0), logits: new Float32Array(0) }
  for (let seen = 0; ; seen++) {
    const command = mailbox.take(seen, options.spinMs)
    let problem: string | undefined
    try {
      if (command.operation === operations.buffers)
        buffers = (receiveMessageOnPort(port) as { message: Buffers }).message
      else await execute(runner, command, buffers)
    } catch (error) {
      problem = problemOf(error)
    }
    mailbox.finish(problem)
    if (command.operation === operations.close) return port.close()
  }
}

const input = workerData as WorkerInput
serve(input).catch((error: unknown) => {
  const failure: WorkerReport = { failed: problemOf(error) }
  input.port.postMessage(failure)
  input.port.close()
})
