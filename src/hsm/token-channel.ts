import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { BaseError } from '../base/base-errors.ts'
import { printable } from '../base/errors.ts'
import { fields, is } from '../base/json.ts'
import { serviceNodeFlags } from '../base/node-flags.ts'
import { HsmError, isHsmErrorCode } from './errors.ts'
import type { NumberedRequest, TokenRequest } from './token-protocol.ts'

const messageLengthMax = 2000

const parseFailure = fields('token failure', {
  id: is.integer(),
  ok: is.literal(false),
  code: is.string(64),
  message: is.string(messageLengthMax),
  retry: is.boolean,
})

interface Pending {
  readonly resolve: (value: unknown) => void
  readonly reject: (reason: unknown) => void
}

/** One process around the PKCS#11 module. It ends when it has been retired and nothing is on its way any more. */
export class TokenChannel {
  readonly #child: ChildProcess
  readonly #pending = new Map<number, Pending>()
  #next = 1
  #isRetired = false

  /** `environment` is all that the process gets of one; `onEnd` is called when it is gone. */
  constructor(environment: Readonly<Record<string, string>>, onEnd: () => void) {
    this.#child = fork(fileURLToPath(new URL('./token-host.ts', import.meta.url)), [], {
      env: { ...environment },
      execArgv: [...serviceNodeFlags],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    const gone = () => {
      this.#failAll('the process of the token ended')
      onEnd()
    }
    this.#child.on('message', untrustedAnswer => this.#answer(untrustedAnswer))
    this.#child.on('exit', gone).on('error', gone)
  }

  /**
   * The value of the answer, whose form the caller checks. Throws the `HsmError` of the token, `HSM_MODULE_CRASHED`, or
   * the reason of `stop`; after the latter two the channel should be retired.
   */
  request(request: TokenRequest, stop: AbortSignal): Promise<unknown> {
    if (stop.aborted) return Promise.reject(stop.reason)
    const child = this.#child
    if (child.exitCode !== null || child.signalCode !== null || !child.connected)
      return Promise.reject(crashed(`the process of the token ended before '${request.operation}'`))
    const id = this.#next++
    const answer = Promise.withResolvers<unknown>()
    const onStop = () => this.#take(id)?.reject(stop.reason)
    stop.addEventListener('abort', onStop, { once: true })
    this.#pending.set(id, answer)
    child.send({ id, request } satisfies NumberedRequest, error => {
      if (error !== null)
        this.#take(id)?.reject(crashed(`the process of the token ended at '${request.operation}'`))
    })
    return answer.promise.finally(() => stop.removeEventListener('abort', onStop))
  }

  /** No more is asked of it: what others have asked is still answered, then the process is ended. */
  retire(): void {
    this.#isRetired = true
    this.#endIfUnused()
  }

  /** Ends the process, whatever it is doing. */
  end(): void {
    this.#child.kill('SIGKILL')
  }

  #take(id: number): Pending | undefined {
    const pending = this.#pending.get(id)
    this.#pending.delete(id)
    this.#endIfUnused()
    return pending
  }

  #endIfUnused(): void {
    if (this.#isRetired && this.#pending.size === 0) this.end()
  }

  #answer(untrustedAnswer: unknown): void {
    const id = idOf(untrustedAnswer)
    if (id === null) {
      this.#failAll('the process of the token gave an answer of an unknown form')
      this.end()
      return
    }
    const pending = this.#take(id)
    // Nobody waits for an answer after its deadline; it may hold a secret.
    if (pending === undefined) forget(untrustedAnswer)
    else settle(pending, untrustedAnswer)
  }

  #failAll(message: string): void {
    for (const id of [...this.#pending.keys()]) this.#take(id)?.reject(crashed(message))
  }
}

function crashed(message: string): HsmError {
  return new HsmError('HSM_MODULE_CRASHED', message, { retry: true })
}

function settle({ resolve, reject }: Pending, untrustedAnswer: unknown): void {
  try {
    resolve(answerValue(untrustedAnswer))
  } catch (error) {
    reject(error)
  }
}

/** The process holds foreign native code: what it says is checked as from another VM. */
function answerValue(untrustedAnswer: unknown): unknown {
  if (typeof untrustedAnswer === 'object' && untrustedAnswer !== null && 'ok' in untrustedAnswer) {
    if (untrustedAnswer.ok === true && 'value' in untrustedAnswer) return untrustedAnswer.value
    try {
      const { code, message, retry } = parseFailure(untrustedAnswer)
      if (isHsmErrorCode(code)) throw new HsmError(code, printable(message), { retry })
    } catch (error) {
      if (!(error instanceof BaseError)) throw error
    }
  }
  throw new HsmError('HSM_TOKEN_FAILED', "the token's process gave an answer of an unknown form")
}

function idOf(untrustedAnswer: unknown): number | null {
  if (typeof untrustedAnswer !== 'object' || untrustedAnswer === null || !('id' in untrustedAnswer))
    return null
  return typeof untrustedAnswer.id === 'number' ? untrustedAnswer.id : null
}

function forget(untrustedAnswer: unknown): void {
  if (typeof untrustedAnswer === 'object' && untrustedAnswer !== null && 'value' in untrustedAnswer)
    if (untrustedAnswer.value instanceof Uint8Array) untrustedAnswer.value.fill(0)
}
