/**
 * Protocols that members of a pool speak with each other: one question on a stream, and one answer where there is any.
 * Each is a record; how it is served, asked, bounded and refused is here.
 *
 * Whoever serves or asks is given a `Member`, which only the gate makes, and no stream before: so nothing of a stranger
 * is read, and code that would read it cannot be written.
 */
import type { Connection, Stream } from '@libp2p/interface'
import type { Static, TObject, TSchema } from 'typebox'
import { MeshError, problemOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { Hex64 } from '../../shared/schema/common.ts'
import { type MessageForm, readTyped, sendTyped } from '../../shared/wire/typed-message.ts'
import type { Gate } from './gate.ts'
import type { Member } from './member.ts'
import type { MeshNode } from './node.ts'
import { asError, onStream } from './open-stream.ts'

/** What only members of some pool are served. */
export interface MemberStreams {
  /** Id of libp2p, with the version. */
  readonly id: string
  /** Streams of it that one connection may have open. */
  readonly streamsAtOnce: number
  /** How the log tells that somebody was not served. */
  readonly refusal: { readonly level: 'debug' | 'warn'; readonly text: string }
}

/** A question that names the pool it is about: who asks must be a member of that one. */
export type AboutPool = TObject<{ poolId: typeof Hex64 }>

/** One question, and one answer or none. */
export interface MemberProtocol<
  Question extends AboutPool,
  Answer extends TSchema | undefined = undefined,
> extends MemberStreams {
  readonly question: MessageForm<Question>
  readonly answer: Answer extends TSchema ? MessageForm<Answer> : undefined
  /** Milliseconds from opening the stream to its end. */
  readonly timeoutMs: number
}

type AnswerTo<Answer extends TSchema | undefined> = Answer extends TSchema ? Static<Answer> : void

export interface Served {
  readonly node: MeshNode
  readonly gate: Gate
  readonly logger: Logger
}

const notMember = ({ remotePeer }: Connection, poolId: string): MeshError =>
  new MeshError('notMember', { deviceId: remotePeer.toString(), poolId })

/**
 * Serves streams of members; those of others are reset unread. It ends with the gate.
 * @param serve its failure resets the stream and goes to the log
 * @returns what ends it before
 */
export const serveMembers = (
  { id, streamsAtOnce, refusal }: MemberStreams,
  { node, gate, logger }: Served,
  serve: (stream: Stream, member: Member) => Promise<void>,
): (() => void) => {
  const meet = async (stream: Stream, connection: Connection): Promise<void> => {
    try {
      const member = gate.memberOn(connection)
      if (member === undefined) throw notMember(connection, 'any')
      await serve(stream, member)
    } catch (error) {
      logger[refusal.level]({ peer: connection.remotePeer.toString(), problem: problemOf(error) }, refusal.text)
      stream.abort(asError(error))
    }
  }
  void node.libp2p.handle(id, meet, { runOnLimitedConnection: true, maxInboundStreams: streamsAtOnce })
  // the node may have stopped
  const stop = (): void => void Promise.resolve(node.libp2p.unhandle(id)).catch(() => undefined)
  gate.onStop(stop)
  return stop
}

/**
 * Answers the questions of members about pools that they are in, by `serveMembers`.
 * @param answer may throw: the stream is reset
 */
export const answerMembers = <Question extends AboutPool, Answer extends TSchema | undefined>(
  protocol: MemberProtocol<Question, Answer>,
  served: Served,
  answer: (question: Static<Question>, member: Member) => AnswerTo<Answer> | Promise<AnswerTo<Answer>>,
): (() => void) =>
  serveMembers(protocol, served, async (stream, member) => {
    const signal = AbortSignal.timeout(protocol.timeoutMs)
    const question = await readTyped(stream, protocol.question, signal)
    const { poolId } = question as Static<AboutPool>
    if (!member.isOf(poolId)) throw notMember(member.connection, poolId)
    const answered = await answer(question, member)
    if (protocol.answer) sendTyped(stream, protocol.answer, answered)
    await stream.close({ signal })
  })

/**
 * Asks a member about a pool that both are in.
 * @throws MeshError `notMember` (of that pool) | `protocolVersion` | `frameInvalid` | `frameTooLarge` | Error when the
 * connection fails, or it takes too long
 */
export const askMember = async <Question extends AboutPool, Answer extends TSchema | undefined>(
  protocol: MemberProtocol<Question, Answer>,
  member: Member,
  question: Static<Question>,
): Promise<AnswerTo<Answer>> => {
  const { poolId } = question as Static<AboutPool>
  if (!member.isOf(poolId)) throw notMember(member.connection, poolId)
  const signal = AbortSignal.timeout(protocol.timeoutMs)
  return onStream(member.connection, protocol.id, signal, async (stream) => {
    sendTyped(stream, protocol.question, question)
    return (protocol.answer ? await readTyped(stream, protocol.answer, signal) : undefined) as AnswerTo<Answer>
  })
}
