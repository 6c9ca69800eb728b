// The camera.
async function openCamera() {
  if (!navigator.mediaDevices) { // only there over https and on this machine
    tell("The camera can be used only where this page is served over https, or on this machine itself.");
    return;
  }
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 } } });
    part("video").srcObject = stream;
    part("dialog").showModal();
  } catch {
    tell("The camera cannot be used: the browser has none, or was not allowed to use it.");
  }
}

function closeCamera() {
  part("video").srcObject?.getTracks().forEach((track) => track.stop());
  part("video").srcObject = null;
  if (part("dialog").open) part("dialog").close();
}

function shoot() {
  const video = part("video");
  const canvas = make("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => {
    closeCamera();
    askFile(new File([blob], "camera.jpg", { type: "image/jpeg" }));
  }, "image/jpeg", 0.95);
}
part("dialog").addEventListener("close", closeCamera);
