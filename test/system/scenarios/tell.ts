import { describe, test } from 'vitest'
import type { Scenario } from './scenario.ts'

/** One test a story. What was said before it failed is in the error. */
export function tell(stories: Readonly<Record<string, Scenario>>): void {
  describe('whole stories, as `npm run scenario` tells them', () => {
    for (const [name, story] of Object.entries(stories))
      test(`${name}: ${story.summary}`, async () => {
        const said: string[] = []
        try {
          await story.run(text => said.push(text))
        } catch (error) {
          throw new Error(`after: ${said.join('; ')}`, { cause: error })
        }
      })
  })
}
