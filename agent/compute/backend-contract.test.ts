/** The contract of backends, on each one as agents use it: in its own thread or process. */
import { after, before, describe, it } from 'node:test'
import { backendContract } from '../engine/test/contract.ts'
import { creators, openSubject, type Subject } from '../engine/test/contract-subject.ts'

for (const [name, create] of Object.entries(creators))
  describe(`${name} keeps the contract of backends`, () => {
    let subject: Subject
    before(() => {
      subject = openSubject(create)
    })
    after(() => subject.close())

    for (const [what, check] of Object.entries(backendContract)) it(what, () => check(subject))
  })
