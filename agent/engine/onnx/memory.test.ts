import { test } from 'node:test'
import { checkMemory } from '../test/memory-contract.ts'
import { creators, openSubject } from '../test/contract-subject.ts'

test('onnx: memory does not grow with steps', async (t) => {
  const subject = openSubject(creators.onnx)
  t.after(() => subject.close())
  await checkMemory(subject)
})
