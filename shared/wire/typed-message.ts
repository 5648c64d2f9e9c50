/** Messages of one form, as CBOR in small length-prefixed messages. */
import type { Static, TSchema } from 'typebox'
import { decodeCbor, encodeCbor } from './envelope.ts'
import { type MessageStream, readMessage, sendMessage } from './message-stream.ts'

/** What a message looks like. */
export interface MessageForm<Schema extends TSchema = TSchema> {
  readonly schema: Schema
  /** Nothing longer is ever held. */
  readonly bytes: number
}

export const sendTyped = <Schema extends TSchema>(
  stream: Pick<MessageStream, 'send'>,
  _form: MessageForm<Schema>,
  message: Static<Schema>,
): void => sendMessage(stream, encodeCbor(message))

/** @throws MeshError `frameTooLarge` | `frameInvalid` (another form, or the stream ended) | the reason of the signal */
export const readTyped = async <Schema extends TSchema>(
  stream: MessageStream,
  { schema, bytes }: MessageForm<Schema>,
  signal: AbortSignal,
): Promise<Static<Schema>> => decodeCbor(schema, await readMessage(stream, bytes, signal))
