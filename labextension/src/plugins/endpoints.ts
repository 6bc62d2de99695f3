/** Endpoints: their section of the side panel, their commands, their tab, and what cells show of them. */

import { ILayoutRestorer } from '@jupyterlab/application';
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Clipboard, Dialog, ICommandPalette, InputDialog, Notification, showDialog, WidgetTracker } from '@jupyterlab/apputils';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { DisposableDelegate } from '@lumino/disposable';
import type { IDisposable } from '@lumino/disposable';
import type { Widget } from '@lumino/widgets';
import * as React from 'react';

import { EndpointList } from '../components/endpoints';
import { kubeflowIcon } from '../icons';
import { widgetOf } from '../panels/side';
import { CommandIDs, IKubeflow } from '../tokens';
import type { EndpointKey, EndpointRow, EndpointView } from '../wire';
import { addRenderer } from './cells';
import { asText, deedsAbout, rowOf } from './deeds';
import type { Args } from './deeds';

export const MIME_ENDPOINT = 'application/vnd.jupyterlab-kf.endpoint+json';
/** Milliseconds that the list of endpoints may take. */
const PATIENCE = 10_000;

const KEY_SCHEMA = {
  type: 'object',
  properties: {
    namespace: { type: 'string', description: 'The namespace of the endpoint' },
    name: { type: 'string', description: 'Its name; asked for when left out' },
    uid: { type: 'string', description: 'Its uid, to mean that very one' },
    ask: { type: 'boolean', description: 'Ask which endpoint' }
  }
} as const;

// What is drawn is loaded when the first is shown.
const Card = React.lazy(() => import('../components/endpoint').then(({ EndpointCard }) => ({ default: EndpointCard })));

export const endpoints: JupyterFrontEndPlugin<void> = {
  id: 'jupyterlab-kf:endpoints',
  description: 'Endpoints in the side panel, in tabs and in outputs of cells.',
  autoStart: true,
  requires: [IKubeflow],
  optional: [ICommandPalette, ILayoutRestorer, IRenderMimeRegistry],
  activate: (
    app: JupyterFrontEnd,
    kf: IKubeflow,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null,
    registry: IRenderMimeRegistry | null
  ) => {
    kf.addSection({
      id: 'endpoints',
      rank: 30,
      create: () => {
        const widget = widgetOf(kf, React.createElement(EndpointList));
        widget.title.label = kf.trans.__('Endpoints');
        return widget;
      }
    });
    addCommands(app, kf, restorer);
    const category = kf.trans.__('Kubeflow');
    for (const command of [CommandIDs.openEndpoint, CommandIDs.copyEndpoint, CommandIDs.mirrorEndpoint, CommandIDs.removeEndpoint]) {
      palette?.addItem({ command, category, args: { ask: true } });
    }
    if (registry) {
      addRenderer(kf, registry, MIME_ENDPOINT, data => {
        const view = data as Partial<EndpointView> | undefined;
        const fallback = React.createElement('div', { 'aria-busy': true });
        return view?.ref && view.versions
          ? React.createElement(React.Suspense, { fallback }, React.createElement(Card, { recorded: view as EndpointView }))
          : null;
      });
    }
  }
};

function addCommands(app: JupyterFrontEnd, kf: IKubeflow, restorer: ILayoutRestorer | null): void {
  const { client, trans } = kf;
  type EndpointPanel = import('../panels/endpoint').EndpointPanel;
  const tracker = new WidgetTracker<EndpointPanel>({ namespace: 'jupyterlab-kf-endpoints' });
  const about = deedsAbout(app, KEY_SCHEMA, async args => endpointOf(app, args) ?? (await askForEndpoint(kf)));
  const add = (id: string, label: string, caption: string, act: (key: EndpointKey) => Promise<void>) =>
    about(id, { label, caption, icon: kubeflowIcon }, act);
  add(CommandIDs.openEndpoint, trans.__('Open Endpoint'), trans.__('Show the versions, the measures and the history of an endpoint'), async key => {
    const { EndpointPanel, endpointPanelId } = await import('../panels/endpoint');
    const id = endpointPanelId(key);
    let panel = tracker.find(one => one.id === id && (!key.uid || !one.key.uid || one.key.uid === key.uid));
    if (!panel) {
      tracker.find(one => one.id === id)?.dispose();
      panel = new EndpointPanel(kf, key);
      app.shell.add(panel, 'main');
      await tracker.add(panel);
    }
    app.shell.activateById(panel.id);
  });
  add(CommandIDs.copyEndpoint, trans.__('Copy Address of Endpoint'), trans.__('Copy where other programs reach an endpoint'), async key => {
    Clipboard.copyToSystem((await client.endpointDetail(key)).url);
    Notification.info(trans.__('Copied.'), { autoClose: 1500 });
  });
  add(CommandIDs.mirrorEndpoint, trans.__('Mirror Requests of Endpoint …'), trans.__('Send copies of requests to a version that answers none, or end that'), key => mirror(kf, key));
  app.commands.addCommand(CommandIDs.copyText, {
    label: trans.__('Copy Text'),
    describedBy: { args: { type: 'object', properties: { text: { type: 'string', description: 'What to copy' } } } },
    execute: args => {
      Clipboard.copyToSystem(asText(args.text));
      Notification.info(trans.__('Copied.'), { autoClose: 1500 });
    }
  });
  add(CommandIDs.removeEndpoint, trans.__('Delete Endpoint …'), trans.__('Delete an endpoint with all its versions'), async key => {
    const answer = await showDialog({
      title: trans.__('Delete %1?', key.name),
      body: trans.__('Its versions end, and their code and its history are gone. Requests to it fail from then on.'),
      buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: trans.__('Delete') })]
    });
    if (answer.button.accept) {
      await client.deleteEndpoint(key);
    }
  });
  if (restorer) {
    void restorer.restore(tracker, {
      command: CommandIDs.openEndpoint,
      args: panel => ({ ...panel.key }),
      name: panel => panel.id
    });
  }
}

/** Ask which version is to get copies of how many requests, show what would change, and change it. */
async function mirror(kf: IKubeflow, key: EndpointKey): Promise<void> {
  const { client, trans } = kf;
  const row = (await listed(kf)).find(one => one.namespace === key.namespace && one.name === key.name);
  const current = row?.versions.find(one => one.mirror);
  const items = current ? [current.name] : (row?.versions.filter(one => !one.traffic).map(one => one.name) ?? []);
  if (!items.length) {
    Notification.info(trans.__('%1 has no version that answers no requests: only such a one can get copies of them.', key.name), { autoClose: 6000 });
    return;
  }
  const version = items.length > 1 ? await InputDialog.getItem({ title: trans.__('Which version gets copies of the requests?'), items }) : null;
  const name = version ? (version.button.accept ? version.value : null) : items[0];
  if (!name) {
    return;
  }
  const title = trans.__('Percent of the requests that %1 gets copies of (0 ends it)', name);
  const percent = await InputDialog.getNumber({ title, value: current ? 0 : 10 });
  if (!percent.button.accept || percent.value === null) {
    return;
  }
  const request = { what: 'mirror', version: name, percent: percent.value } as const;
  const plan = await client.planChange(key, request);
  const { Diff } = await import('../components/diff');
  const nothing = () => React.createElement('p', { className: 'kfx-Note' }, trans.__('Nothing: it is like this already.'));
  const body = widgetOf(kf, plan.diff ? React.createElement(Diff, { text: plan.diff }) : nothing());
  body.addClass('kfx');
  body.addClass('kfx-Dialog');
  const buttons = [Dialog.cancelButton(), Dialog.okButton({ label: trans.__('Apply') })];
  const dialog = new Dialog({ title: trans.__('What would change: %1', plan.cause), body, buttons });
  const keys = withinDialog(dialog, body);
  const answer = await dialog.launch().finally(() => keys.dispose());
  if (answer.button.accept && plan.diff) {
    await client.makeChange(key, { ...request, mark: plan.mark });
    Notification.info(trans.__('Done: %1.', plan.cause), { autoClose: 3000 });
  }
}

/**
 * Have keys reach what a dialog shows. Lab's dialog takes Enter for its own button wherever it is pressed, and leads Tab
 * from the last button to the first thing that was there when it opened: what is drawn later is never come by.
 */
function withinDialog(dialog: Dialog<unknown>, body: Widget): IDisposable {
  const first = () => body.node.querySelector<HTMLElement>('button, [tabindex="0"]');
  const take = (event: KeyboardEvent) => {
    const at = document.activeElement;
    if (event.key === 'Enter' && at && body.node.contains(at)) {
      event.stopPropagation();
    } else if (event.key === 'Tab' && !event.shiftKey && at === [...dialog.node.querySelectorAll('.jp-Dialog-footer button')].pop() && first()) {
      event.preventDefault();
      event.stopPropagation();
      first()?.focus();
    }
  };
  // Before the dialog itself, which listens where events come down.
  window.addEventListener('keydown', take, true);
  return new DisposableDelegate(() => window.removeEventListener('keydown', take, true));
}

/** The endpoint that a command is about: of its arguments, or the row that the context menu was opened on. */
function endpointOf(app: JupyterFrontEnd, args: Args): EndpointKey | null {
  if (typeof args.name === 'string') {
    return { name: args.name, namespace: asText(args.namespace) || 'default', uid: asText(args.uid) };
  }
  // Lab remembers where a context menu was opened last; who comes from the palette does not mean that.
  const row = args.ask ? undefined : rowOf(app, 'kfx-Endpoint');
  if (!row) {
    return null;
  }
  const { namespace = '', name = '', uid = '' } = row;
  return { namespace, name, uid };
}

/** The endpoint that the user picks, or nothing. */
async function askForEndpoint(kf: IKubeflow): Promise<EndpointKey | null> {
  const { trans } = kf;
  const rows = await listed(kf);
  if (!rows.length) {
    Notification.info(trans.__('There are no endpoints. Serve a model with %kf_serve.'), { autoClose: 4000 });
    return null;
  }
  const labels = rows.map(row => `${row.namespace}/${row.name}`);
  const answer = await InputDialog.getItem({ title: trans.__('Which endpoint?'), items: labels });
  const place = answer.button.accept && answer.value !== null ? labels.indexOf(answer.value) : -1;
  return rows[place] ?? null;
}

function listed({ client }: IKubeflow): Promise<EndpointRow[]> {
  return new Promise(resolve => {
    const end = (rows: EndpointRow[]) => {
      window.clearTimeout(timer);
      watch.dispose();
      resolve(rows);
    };
    const watch = client.endpoints(frame => end(frame.rows.filter(row => row.kind === 'SeldonDeployment')));
    const timer = window.setTimeout(() => end([]), PATIENCE);
  });
}
