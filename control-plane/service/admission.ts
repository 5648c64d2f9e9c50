/**
 * Who may ask how often. Requests that prove nothing are paid for by the address they come from, and so are those of
 * devices that are known to no pool; a member pays for itself, so that whoever shares its address cannot lock it out.
 */
import { MeshError } from '../../shared/errors.ts'
import { type Budget, Budgets, householdOf } from '../domain/budgets.ts'

export interface AdmissionSettings {
  /** Requests of one address that prove no membership. */
  readonly address: Budget
  /** Requests of one member, or of one API key. */
  readonly member: Budget
}

/** A refusal costs about 0.3 ms and a request of a member 1 ms: nobody gets more than a tenth of one core for long. */
export const defaultAdmission: AdmissionSettings = { address: { most: 500, perSecond: 50 }, member: { most: 1000, perSecond: 100 } }

/** Members that are remembered; those of later start as strangers that show their certificate. */
const mostMembers = 10_000

export class Admission {
  readonly #addresses: Budgets
  readonly #members: Budgets
  /** Address and id of devices and keys that proved from there that they belong to a pool. */
  readonly #proven = new Set<string>()
  readonly #now: () => number

  constructor({ address, member }: AdmissionSettings, now: () => number) {
    this.#addresses = new Budgets(address)
    this.#members = new Budgets(member)
    this.#now = now
  }

  /**
   * Before anything of a request is checked.
   * @param claimed the device that it says it is from
   * @throws MeshError `tooManyRequests`
   */
  admit(address: string, claimed: string): void {
    const sender = this.#sender(address, claimed)
    const waitMs = sender.budgets.waitMs(sender.name, 1, this.#now())
    if (waitMs > 0) throw new MeshError('tooManyRequests', { sender: sender.what, retryAfterSeconds: Math.ceil(waitMs / 1000) })
  }

  /** A request was refused, or came from a device that no pool knows. */
  charge(address: string, claimed: string, units = 1): void {
    const { budgets, name } = this.#sender(address, claimed)
    budgets.charge(name, units, this.#now())
  }

  /** It came from a member of a pool, or with a valid key. */
  chargeMember(address: string, id: string): void {
    if (this.#proven.size >= mostMembers) this.#proven.clear()
    this.#proven.add(`${householdOf(address)} ${id}`)
    this.charge(address, id)
  }

  #sender(address: string, claimed: string): { readonly budgets: Budgets; readonly name: string; readonly what: string } {
    const household = householdOf(address)
    const name = `${household} ${claimed}`
    if (this.#proven.has(name)) return { budgets: this.#members, name, what: 'this device' }
    return { budgets: this.#addresses, name: household, what: 'this address' }
  }
}
