// Runs in the page before viser's client does. The client talks to the viewer through a Worker: what goes by is looked
// at, and a camera can be set as the viewer itself sets it. Frames are spaced out, since software draws each of them at
// the cost of a twentieth of a second that the viewer needs for its own pictures.
(() => {
  const harness = { camera: null, pictures: 0, picture: null, frames: 0, elementFrame: Infinity };
  let client = null;

  const nextFrame = window.requestAnimationFrame.bind(window);
  let frameTime = 0;
  window.requestAnimationFrame = (callback) =>
    setTimeout(() => nextFrame((time) => {
      if (time !== frameTime) harness.frames += 1;
      frameTime = time;
      callback(time);
    }), FRAME_PAUSE);
  window.cancelAnimationFrame = (timer) => clearTimeout(timer);

  const received = (message) => {
    if (message.type.startsWith("GuiAdd")) harness.elementFrame = harness.frames;
    if (message.type !== "BackgroundImageMessage") return;
    harness.pictures += 1;
    harness.picture = {
      blob: new Blob([message.rgb_bytes], { type: message.media_type }),
      time: performance.now(),
      frame: harness.frames,
    };
  };

  window.Worker = class extends window.Worker {
    constructor(...options) {
      super(...options);
      this.addEventListener("message", ({ data }) => {
        if (data?.type === "message_batch") data.messages.forEach(received);
      });
    }

    postMessage(data, ...options) {
      if (data?.type === "set_server") client = this;
      if (data?.type === "send" && data.message.type === "ViewerCameraMessage") harness.camera = data.message;
      super.postMessage(data, ...options);
    }
  };

  harness.state = async () => {
    const { camera, pictures, picture, frames, elementFrame } = harness;
    const panel = camera !== null && frames - elementFrame >= 3;
    if (picture === null) return { camera, panel, pictures, picture };
    const bitmap = await createImageBitmap(picture.blob);
    const age = (performance.now() - picture.time) / 1000;
    const { width, height } = bitmap;
    return { camera, panel, pictures, picture: { width, height, age, frames: frames - picture.frame } };
  };

  harness.pictureUrl = () =>
    new Promise((resolve) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.readAsDataURL(harness.picture.blob);
    });

  harness.setCamera = ({ position, look_at, up, fov }) => {
    const messages = [
      { type: "SetCameraUpDirectionMessage", position: up },
      { type: "SetCameraPositionMessage", position },
      { type: "SetCameraLookAtMessage", look_at },
      { type: "SetCameraFovMessage", fov },
    ];
    client.dispatchEvent(new MessageEvent("message", { data: { type: "message_batch", messages } }));
  };

  window.harness = harness;
})();
