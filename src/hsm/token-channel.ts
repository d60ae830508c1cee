import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { fields, is } from '../base/json.ts'
import { serviceNodeFlags } from '../base/node-flags.ts'
import { HsmError, isHsmErrorCode } from './errors.ts'
import type { TokenRequest } from './token-protocol.ts'

const messageLengthMax = 2000

const parseFailure = fields('token failure', {
  ok: is.literal(false),
  code: is.string(64),
  message: is.string(messageLengthMax),
  retry: is.boolean,
})

/** One process around the PKCS#11 module, for one request at a time. */
export class TokenChannel {
  readonly #child: ChildProcess

  /** `environment` is all that the process gets of one. */
  constructor(environment: Readonly<Record<string, string>>) {
    this.#child = fork(fileURLToPath(new URL('./token-host.ts', import.meta.url)), [], {
      env: { ...environment },
      execArgv: [...serviceNodeFlags],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    // Heard by whoever waits for an answer; unheard ones must not end this process.
    this.#child.on('error', () => {})
  }

  /**
   * The value of the answer, whose form the caller checks. Throws the `HsmError` of the token, `HSM_MODULE_CRASHED`, or
   * the reason of `stop`; after the latter two the channel is of no more use.
   */
  request(request: TokenRequest, stop: AbortSignal): Promise<unknown> {
    const child = this.#child
    return new Promise((resolve, reject) => {
      const settle = (act: () => void) => {
        child.off('message', onAnswer).off('exit', onExit).off('error', onExit)
        stop.removeEventListener('abort', onStop)
        act()
      }
      const onAnswer = (untrustedAnswer: unknown) =>
        settle(() => {
          try {
            resolve(answerValue(untrustedAnswer))
          } catch (error) {
            reject(error)
          }
        })
      const onExit = () =>
        settle(() =>
          reject(
            new HsmError('HSM_MODULE_CRASHED', `the token's process ended during '${request.operation}'`, {
              retry: true,
            }),
          ),
        )
      const onStop = () => settle(() => reject(stop.reason))
      if (stop.aborted) return onStop()
      if (child.exitCode !== null || child.signalCode !== null || !child.connected) return onExit()
      child.once('message', onAnswer).once('exit', onExit).once('error', onExit)
      stop.addEventListener('abort', onStop, { once: true })
      child.send(request, error => {
        if (error !== null) onExit()
      })
    })
  }

  /** Ends the process, whatever it is doing. */
  end(): void {
    this.#child.kill('SIGKILL')
  }
}

/** The process holds foreign native code: what it says is checked as from another VM. */
function answerValue(untrustedAnswer: unknown): unknown {
  if (typeof untrustedAnswer === 'object' && untrustedAnswer !== null && 'ok' in untrustedAnswer) {
    if (untrustedAnswer.ok === true && 'value' in untrustedAnswer) return untrustedAnswer.value
    const { code, message, retry } = parseFailure(untrustedAnswer)
    if (isHsmErrorCode(code)) throw new HsmError(code, message, { retry })
  }
  throw new HsmError('HSM_TOKEN_FAILED', "the token's process gave an answer of an unknown form")
}
