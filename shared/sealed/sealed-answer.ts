/**
 * An answer on its way back, sealed piece by piece under a key that only rank 0 and who asked can make.
 *
 * Text form: pieces, each base64url and a full stop, one behind the other in any cut. Piece n is AES-256-GCM of JSON,
 * padded to 64 bytes so that the length of a token does not tell the token, with n as nonce; so a piece that is lost,
 * repeated, moved or changed does not open. Before the first lie 16 random bytes of salt: the key is made from them
 * (HKDF-SHA256) and the secret of the prompt, so no two runs of one prompt share it. The last piece says that it is.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { MeshError } from '../errors.ts'
import type { FinishReason } from '../schema/job.ts'
import { padded, unpadded } from './padding.ts'

export interface AnswerPiece {
  readonly tokens: readonly number[]
  readonly text: string
  /** Of the last piece: why the answer ended, and how many tokens it has. */
  readonly end?: { readonly finishReason: FinishReason; readonly tokens: number }
}

export interface AnswerSealer {
  /** @returns the piece, to be appended to what came before */
  piece(piece: AnswerPiece): string
}

export interface AnswerOpener {
  /** @param part what comes next of the sealed text, cut anywhere. @throws MeshError `sealBroken` */
  feed(part: string): AnswerPiece[]
  /** The last piece has come. */
  readonly isComplete: boolean
}

const algorithm = 'aes-256-gcm'
const block = 64
const saltBytes = 16
const tagBytes = 16
/** Characters of a piece: a text held back, or the whole answer at its end. */
const mostCharacters = 16 * 2 ** 20

const keyOf = (secret: Uint8Array, salt: Uint8Array): Buffer =>
  Buffer.from(hkdfSync('sha256', secret, salt, 'meshnet-sealed-answer-v1', 32))

const nonceOf = (index: number): Buffer => {
  const nonce = Buffer.alloc(12)
  nonce.writeBigUInt64BE(BigInt(index), 4)
  return nonce
}

/** @param secret 32 bytes, of one prompt */
export const createAnswerSealer = (secret: Uint8Array): AnswerSealer => {
  const salt = randomBytes(saltBytes)
  const key = keyOf(secret, salt)
  let index = 0
  return {
    piece: (piece) => {
      const cipher = createCipheriv(algorithm, key, nonceOf(index))
      const sealed = [cipher.update(padded(JSON.stringify(piece), block)), cipher.final(), cipher.getAuthTag()]
      return `${Buffer.concat(index++ === 0 ? [salt, ...sealed] : sealed).toString('base64url')}.`
    },
  }
}

const broken = (problem: string): MeshError => new MeshError('sealBroken', { problem })

/** @param secret 32 bytes, of one prompt */
export const createAnswerOpener = (secret: Uint8Array): AnswerOpener => {
  let key: Buffer | undefined
  let index = 0
  let rest = ''
  let isComplete = false
  const open = (text: string): AnswerPiece => {
    if (isComplete) throw broken('more comes after the end of the answer')
    let bytes = Buffer.from(text, 'base64url')
    if (key === undefined) {
      key = keyOf(secret, bytes.subarray(0, saltBytes))
      bytes = bytes.subarray(saltBytes)
    }
    try {
      const decipher = createDecipheriv(algorithm, key, nonceOf(index), { authTagLength: tagBytes })
      decipher.setAuthTag(bytes.subarray(-tagBytes))
      const plain = Buffer.concat([decipher.update(bytes.subarray(0, -tagBytes)), decipher.final()])
      const piece = JSON.parse(unpadded(plain) ?? '') as AnswerPiece // of rank 0, as the tag shows
      index++
      isComplete = piece.end !== undefined
      return piece
    } catch {
      throw broken(`piece ${index} of the answer was lost, repeated, moved or changed`)
    }
  }
  return {
    get isComplete() {
      return isComplete
    },
    feed: (part) => {
      const pieces = (rest + part).split('.')
      rest = pieces.pop() ?? ''
      if (rest.length > mostCharacters) throw broken('a piece of the answer does not end')
      return pieces.map(open)
    },
  }
}
