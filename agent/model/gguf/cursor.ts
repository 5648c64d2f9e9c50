/** Reads the header of a GGUF file from front to back: through a window of bounded size, nothing believed unread. */
import { formatBytes } from '../../../shared/words.ts'
import { damagedFile, type TensorFile } from '../tensor-file.ts'

const windowBytes = 2 ** 20

export class HeaderCursor {
  readonly #file: TensorFile
  #window: Buffer = Buffer.alloc(0)
  /** Bytes of the file in front of the window. */
  #start = 0
  #at = 0

  constructor(file: TensorFile) {
    this.#file = file
  }

  /** Bytes from the start of the file. */
  get position(): number {
    return this.#start + this.#at
  }

  /** @returns MeshError `ggufInvalid` */
  invalid(problem: string, cause?: unknown): Error {
    return damagedFile(this.#file.path, problem, cause)
  }

  /** Refuses what cannot be there, before anybody reserves memory for it. @throws MeshError `ggufInvalid` */
  expect(bytes: number, what: string): void {
    const left = this.#file.size - this.position
    if (bytes > left)
      throw this.invalid(
        `${what} would end behind the file, which has ${formatBytes(this.#file.size)}: ` +
          'the download was cut short, or the header is damaged',
      )
  }

  u8(what: string): number {
    return this.#take(1, what).readUInt8()
  }

  u32(what: string): number {
    return this.#take(4, what).readUInt32LE()
  }

  u64(what: string): bigint {
    return this.#take(8, what).readBigUInt64LE()
  }

  /** A u64 that counts something. @throws MeshError `ggufInvalid` beyond `most` */
  count(what: string, most: number): number {
    const value = this.u64(what)
    if (value > BigInt(most)) throw this.invalid(`${what} is ${value}, ${most} is the most`)
    return Number(value)
  }

  /** A copy of the next bytes, of which the caller limits the number. */
  bytes(count: number, what: string): Buffer {
    this.expect(count, what)
    if (count <= windowBytes) return Buffer.from(this.#take(count, what))
    const bytes = Buffer.alloc(count)
    this.#file.read(bytes, this.position)
    this.#start = this.position + count
    this.#at = 0
    this.#window = Buffer.alloc(0)
    return bytes
  }

  /** Length as u64, then UTF-8. @throws MeshError `ggufInvalid` where it is longer than `most`, or not UTF-8 */
  text(what: string, most: number): string {
    const bytes = this.bytes(this.count(`the length of ${what}`, most), what)
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    } catch (error) {
      throw this.invalid(`${what} is not UTF-8`, error)
    }
  }

  /** The next bytes, until the next call. @param count at most `windowBytes` */
  #take(count: number, what: string): Buffer {
    if (this.#at + count > this.#window.length) {
      this.expect(count, what)
      this.#start = this.position
      this.#at = 0
      this.#window = Buffer.alloc(Math.min(windowBytes, this.#file.size - this.#start))
      this.#file.read(this.#window, this.#start)
    }
    this.#at += count
    return this.#window.subarray(this.#at - count, this.#at)
  }
}
