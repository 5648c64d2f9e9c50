/** The WebSocket of agents: messages of a member that hold by their form, in any order, and damaged ones. */
import { once } from 'node:events'
import fc from 'fast-check'
import WebSocket from 'ws'
import { AgentMessage, type ControlMessage } from '../../shared/api/messages.ts'
import { manifest, submission } from '../../control-plane/test/plane.ts'
import type { Arena } from './arena.ts'
import { damagedText, hostile } from './edits.ts'
import { handled } from './handled.ts'
import { anyTarget, type Target } from './run-cases.ts'

interface MessageCase {
  readonly text: string
  /** Ring, epoch and job of now are put in: the message is about something. */
  readonly isFresh: boolean
}

/** The agent of a member as the control plane sees it, whatever it sends. */
class HostileAgent {
  readonly #arena: Arena
  #socket: WebSocket | undefined
  #ring: { readonly ringId: string; readonly epoch: number } | undefined
  #job: { readonly jobId: string; readonly epoch: number } | undefined
  #jobs = 0
  #failures: string[] = []

  constructor(arena: Arena) {
    this.#arena = arena
  }

  async #open(): Promise<WebSocket> {
    if (this.#socket?.readyState === WebSocket.OPEN) return this.#socket
    const { member, url, pool } = this.#arena
    const { url: address, headers } = await member.client(url).socket()
    const socket = new WebSocket(address, { headers })
    this.#socket = socket
    socket.on('message', (data: Buffer) => this.#hear(JSON.parse(data.toString()) as ControlMessage))
    socket.on('error', () => undefined)
    await once(socket, 'open')
    this.#hello(socket)
    await member.client(url).call('joinRing', {
      params: { poolId: pool.poolId },
      body: { model: { ...manifest, modelId: 'fuzzed' }, quant: 'q8', share: 1 },
    })
    return socket
  }

  #hello(socket: WebSocket): void {
    socket.send(
      JSON.stringify({
        type: 'hello',
        version: '0',
        peerId: 'p',
        addresses: [],
        certificates: [...this.#arena.member.certificates.values()],
      } satisfies AgentMessage),
    )
  }

  #hear(message: ControlMessage): void {
    if (message.type === 'ring-epoch') this.#ring = message.ring
    else if (message.type === 'job-assign') this.#job = message
    else if (message.type === 'error') this.#failures.push(message.error.code)
  }

  /** @returns the message with what it is about, if it is one; a job is made when there is none */
  async #fresh(text: string): Promise<string> {
    let message: unknown
    try {
      message = JSON.parse(text)
    } catch {
      return text
    }
    if (typeof message !== 'object' || message === null || Array.isArray(message)) return text
    if ('jobId' in message && this.#job === undefined && this.#jobs++ % 10 === 0) {
      const { member, url, pool } = this.#arena
      await member
        .client(url)
        .call('submitJob', {
          params: { poolId: pool.poolId },
          body: submission(`fuzz-${this.#jobs}-${Date.now()}`, { modelId: 'fuzzed' }),
        })
        .catch(() => undefined)
    }
    const about = 'jobId' in message ? this.#job : 'ringId' in message ? this.#ring : undefined
    if (
      about &&
      'jobId' in about &&
      'type' in message &&
      (message.type === 'job-done' || message.type === 'job-failed')
    )
      this.#job = undefined
    return JSON.stringify({
      ...message,
      ...(about === undefined
        ? {}
        : 'jobId' in about
          ? { jobId: about.jobId, epoch: about.epoch }
          : { ringId: about.ringId, epoch: about.epoch }),
    })
  }

  async say({ text, isFresh }: MessageCase): Promise<string> {
    const socket = await this.#open()
    this.#failures = []
    socket.send(isFresh ? await this.#fresh(text) : text)
    await handled(socket)
    this.#arena.checkLog()
    if (this.#failures.includes('internal')) throw new Error('the control plane calls it a defect of its own')
    if (/"hello"/.test(text) && socket.readyState === WebSocket.OPEN) this.#hello(socket)
    return this.#failures[0] ?? (socket.readyState === WebSocket.OPEN ? 'taken' : 'closed')
  }

  close(): void {
    this.#socket?.terminate()
  }
}

export const messageTargets = (arena: Arena): { readonly targets: readonly Target[]; close(): void } => {
  const agent = new HostileAgent(arena)
  const json = hostile(AgentMessage, arena.words).map((value) => JSON.stringify(value) ?? '')
  const text = fc.oneof({ weight: 6, arbitrary: json }, { weight: 1, arbitrary: damagedText(json) })
  return {
    targets: [
      anyTarget({
        name: 'messages of agents',
        cases: fc.record({ text, isFresh: fc.boolean() }),
        run: (message) => agent.say(message),
      }),
    ],
    close: () => agent.close(),
  }
}
