import { expect, it } from 'vitest'
import { tokenError } from '../../src/hsm/token-faults.ts'

/** As pkcs11js throws it. */
function answered(code: number): Error {
  return Object.assign(new Error('CKR_…'), { name: 'Pkcs11Error', code })
}

it.each([
  [0xa0, 'HSM_PIN_WRONG', 'logging in: the PIN is wrong'],
  [0xa4, 'HSM_PIN_LOCKED', 'logging in: the PIN is locked'],
  [0xe0, 'HSM_TOKEN_REMOVED', 'logging in: the token is not there'],
])('what %i means is said in words, with a hint and without the number', (value, code, message) => {
  const error = tokenError('logging in', answered(value))
  expect([error.code, error.message]).toEqual([code, message])
  expect(error.hint).not.toBe('')
})

it('the plain text of the binding is understood too', () => {
  expect(tokenError('the counter', new Error('CKR_ATTRIBUTE_VALUE_INVALID:19')).code).toBe(
    'HSM_MECHANISM_MISSING',
  )
})

it('a number that has no name here is kept', () => {
  const error = tokenError('logging in', answered(0x80000001))
  expect([error.code, error.message]).toEqual([
    'HSM_TOKEN_FAILED',
    'logging in: the module answered 0x80000001',
  ])
})
