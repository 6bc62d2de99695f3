/** A change of an endpoint: worked out first and shown as a difference, and made only when somebody says so. */

import * as React from 'react';

import { KubeflowError } from '../client';
import { CommandIDs } from '../tokens';
import type { ChangePlan, ChangeRequest, EndpointKey } from '../wire';
import { useKubeflow } from './context';
import { Diff } from './diff';

export interface Changing {
  request: Partial<ChangeRequest> | null;
  plan: ChangePlan | null;
  busy: boolean;
  said: string;
  /** How many changes were made, and what the last one was. */
  done: number;
  last: string;
  error: string;
  hint: string;
  /** Work a change out and show it. */
  begin: (request: Partial<ChangeRequest>) => void;
  apply: () => void;
  cancel: () => void;
}

const IDLE = { request: null, plan: null, busy: false, said: '', error: '', hint: '' };

export function useChange(key: EndpointKey): Changing {
  const { client, trans } = useKubeflow();
  const [state, set] = React.useState<Omit<Changing, 'begin' | 'apply' | 'cancel'>>({ ...IDLE, done: 0, last: '' });
  /** Where the keys were when a change was wished for: they come back there when it is given up. */
  const from = React.useRef<HTMLElement | null>(null);
  const failed = (error: unknown) =>
    set(before => ({
      ...before,
      busy: false,
      error: error instanceof Error ? error.message : String(error),
      hint: error instanceof KubeflowError ? error.hint : ''
    }));
  const begin = (request: Partial<ChangeRequest>) => {
    if (!state.request && document.activeElement instanceof HTMLElement) {
      from.current = document.activeElement;
    }
    set(before => ({ ...before, ...IDLE, request, busy: true }));
    client.planChange(key, request).then(plan => set(before => ({ ...before, ...IDLE, request, plan })), failed);
  };
  const apply = () => {
    const { request, plan } = state;
    if (!request || !plan) {
      return;
    }
    set({ ...state, busy: true, error: '', hint: '' });
    client.makeChange(key, { ...request, mark: plan.mark }).then(
      ({ revision }) => {
        const said = trans.__('Done: %1. This is revision %2.', plan.cause, revision);
        set(before => ({ ...before, ...IDLE, said, done: before.done + 1, last: request.what ?? '' }));
      },
      failed
    );
  };
  const cancel = () => {
    set(before => ({ ...before, ...IDLE }));
    from.current?.focus();
  };
  return { ...state, begin, apply, cancel };
}

/** What would change, and the buttons for it. */
export function Review({ changing }: { changing: Changing }): React.JSX.Element {
  const kf = useKubeflow();
  const { trans } = kf;
  const { request, plan, busy, said, done, error, hint } = changing;
  const box = React.useRef<HTMLDivElement>(null);
  const told = React.useRef<HTMLDivElement>(null);
  const copy = (text: string) => kf.execute(CommandIDs.copyText, { text });
  // Who asked for it with a key goes on with keys.
  React.useEffect(() => {
    if (plan) {
      box.current?.querySelector<HTMLElement>('.kfx-Review-deeds button:not(:disabled)')?.focus({ preventScroll: true });
      box.current?.scrollIntoView({ block: 'nearest' });
    }
  }, [plan, error]);
  // The button that was pressed is gone: what became of it is where keys go on.
  React.useEffect(() => {
    if (done) {
      told.current?.focus();
    }
  }, [done]);
  return (
    <div ref={box}>
      <div ref={told} role="status" tabIndex={-1} className="kfx-Done">
        {said || (busy && !plan ? trans.__('Working out what would change …') : '')}
      </div>
      {error && (
        <div className="kfx-Notice" role="alert">
          {error}
          {hint && <div className="kfx-dim">{hint}</div>}
        </div>
      )}
      {request && (plan || error) && (
        <div className="kfx-Review" role="group" aria-label={trans.__('Review of the change')}>
          {plan && <p className="kfx-Review-cause">{trans.__('What would change: %1', plan.cause)}</p>}
          {plan && (plan.diff ? <Diff key={plan.mark + plan.cause} text={plan.diff} /> : <p className="kfx-Note">{trans.__('Nothing: it is like this already.')}</p>)}
          {plan?.slow && <p className="kfx-Note">{trans.__('Versions come or go: requests are answered all the while.')}</p>}
          <div className="kfx-Tools-row kfx-Review-deeds">
            {plan && !error && (
              <button type="button" className="kfx-Button kfx-primary" disabled={busy || !plan.diff} onClick={changing.apply}>
                {busy ? trans.__('Applying …') : trans.__('Apply')}
              </button>
            )}
            {error && (
              <button type="button" className="kfx-Button kfx-primary" disabled={busy} onClick={() => changing.begin(request)}>
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
