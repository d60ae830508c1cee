import { describe, expect, test } from 'vitest'
import { parseReadChoice, type Reading, readingOf } from '../../src/base/read-choice.ts'

describe('what a check reads', () => {
  test.each<[string, Reading]>([
    ['structure', { kind: 'structure' }],
    ['all', { kind: 'all' }],
    ['5%', { kind: 'share', percent: 5 }],
    ['2.5%', { kind: 'share', percent: 2.5 }],
    ['0.01%', { kind: 'share', percent: 0.01 }],
    ['100%', { kind: 'share', percent: 100 }],
    ['1/7', { kind: 'part', part: 1, of: 7 }],
    ['256/256', { kind: 'part', part: 256, of: 256 }],
    ['1d', { kind: 'cycle', days: 1 }],
    ['36500d', { kind: 'cycle', days: 36_500 }],
  ])('%s is understood', (text, reading) => {
    expect(readingOf(parseReadChoice(text))).toEqual(reading)
  })

  test.each([
    ...[
      '',
      'ALL',
      'everything',
      '0%',
      '0.00%',
      '100.01%',
      '101%',
      '5',
      '5.%',
      '5.123%',
      '-5%',
      '1e1%',
      ' 5%',
    ],
    ...['0/7', '8/7', '1/257', '01/7', '1/07', '1/7/2', '1/', '/7', '0d', '36501d', '030d', '1.5d', '7days'],
    ...['5%\n', 'all\n', '٥%'],
  ])('%j is refused', text => {
    expect(() => parseReadChoice(text)).toThrow(expect.objectContaining({ code: 'NAME_INVALID' }))
  })
})
