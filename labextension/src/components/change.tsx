/** A change of an endpoint: worked out first and shown as a difference, and made only when somebody says so. */

import * as React from 'react';

import { KubeflowError } from '../client';
import { CommandIDs } from '../tokens';
import type { ChangePlan, ChangeRequest, EndpointKey } from '../wire';
import { useKubeflow } from './context';

export interface Changing {
  request: Partial<ChangeRequest> | null;
  plan: ChangePlan | null;
  busy: boolean;
  said: string;
  error: string;
  hint: string;
  /** Work a change out and show it. */
  begin: (request: Partial<ChangeRequest>) => void;
  apply: () => void;
  cancel: () => void;
}

const IDLE = { request: null, plan: null, busy: false, said: '', error: '', hint: '' };

export function useChange(key: EndpointKey, onDone: () => void): Changing {
  const { client, trans } = useKubeflow();
  const [state, set] = React.useState<Omit<Changing, 'begin' | 'apply' | 'cancel'>>(IDLE);
  const failed = (error: unknown) =>
    set(before => ({
      ...before,
      busy: false,
      error: error instanceof Error ? error.message : String(error),
      hint: error instanceof KubeflowError ? error.hint : ''
    }));
  const begin = (request: Partial<ChangeRequest>) => {
    set({ ...IDLE, request, busy: true });
    client.planChange(key, request).then(plan => set({ ...IDLE, request, plan }), failed);
  };
  const apply = () => {
    const { request, plan } = state;
    if (!request || !plan) {
      return;
    }
    set({ ...state, busy: true, error: '', hint: '' });
    client.makeChange(key, { ...request, mark: plan.mark }).then(() => {
      set({ ...IDLE, said: trans.__('Done: %1.', plan.cause) });
      onDone();
    }, failed);
  };
  return { ...state, begin, apply, cancel: () => set(IDLE) };
}

/** What would change, and the buttons for it. */
export function Review({ changing }: { changing: Changing }): React.JSX.Element {
  const kf = useKubeflow();
  const { trans } = kf;
  const { request, plan, busy, said, error, hint } = changing;
  const box = React.useRef<HTMLDivElement>(null);
  const copy = (text: string) => kf.execute(CommandIDs.copyText, { text });
  // Who asked for it with a key goes on with keys.
  React.useEffect(() => {
    if (plan) {
      box.current?.querySelector<HTMLElement>('button.kfx-primary')?.focus();
    }
  }, [plan]);
  return (
    <div ref={box}>
      <div role="status">{said || (busy && !plan ? trans.__('Working out what would change …') : '')}</div>
      {error && (
        <div className="kfx-Notice" role="alert">
          {error}
          {hint && <div className="kfx-dim">{hint}</div>}
        </div>
      )}
      {request && (plan || error) && (
        <div className="kfx-Review" role="group" aria-label={trans.__('Review of the change')}>
          {plan && <p className="kfx-Review-cause">{trans.__('What would change: %1', plan.cause)}</p>}
          {plan && (plan.diff ? <Diff text={plan.diff} /> : <p className="kfx-Note">{trans.__('Nothing: it is like this already.')}</p>)}
          {plan?.slow && <p className="kfx-Note">{trans.__('Versions come or go: requests are answered all the while.')}</p>}
          <div className="kfx-Tools-row">
            {plan && (
              <button type="button" className="kfx-Button kfx-primary" disabled={busy || !plan.diff} onClick={changing.apply}>
                {busy ? trans.__('Applying …') : trans.__('Apply')}
              </button>
            )}
            {error && (
              <button type="button" className="kfx-Button" onClick={() => changing.begin(request)}>
                {trans.__('Look again')}
              </button>
            )}
            <button type="button" className="kfx-Button" disabled={busy} onClick={changing.cancel}>
              {trans.__('Cancel')}
            </button>
            {plan && (
              <>
                <span className="kfx-grow" />
                <button type="button" className="kfx-Button" onClick={() => copy(plan.python)}>
                  {trans.__('Copy as Python')}
                </button>
                <button type="button" className="kfx-Button" onClick={() => copy(plan.yaml)}>
                  {trans.__('Copy as YAML')}
                </button>
              </>
            )}
          </div>
        </div>
      )}
    </div>
  );
}

function Diff({ text }: { text: string }): React.JSX.Element {
  const { trans } = useKubeflow();
  const look: Record<string, string> = { '+': 'kfx-Diff-more', '-': 'kfx-Diff-less', '@': 'kfx-dim' };
  return (
    <pre className="kfx-Pre kfx-Diff" tabIndex={0} role="region" aria-label={trans.__('Difference of the manifests')}>
      {text.split('\n').map((line, n) => (
        <span key={n} className={/^(---|\+\+\+) /.test(line) ? 'kfx-dim' : look[line[0] ?? '']}>
          {line}
          {'\n'}
        </span>
      ))}
    </pre>
  );
}
